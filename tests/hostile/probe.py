import sys, tempfile, os, time, logging
from pathlib import Path
import importlib
sys.path[:0]=[str(Path(__file__).parent), str(Path(__file__).parents[1])]
import bad_files as make
from hostile_case import ask, faults
import torch; torch.set_num_threads(1)
from bequeath.cli import run_cli
os.environ["HF_HUB_OFFLINE"]="1"
import pyarrow.csv, pyarrow.parquet, PIL.Image
def main(mods, pat=""):
    base=Path(tempfile.mkdtemp(prefix="h-",dir="/tmp/hostile"));
    os.environ["BEQUEATH_CACHE"]=str(base/"cache")
    w=base/"warm"; w.mkdir(); make.good(w); (w/"job.yaml").write_text(make.GOOD); os.chdir(w)
    import io,contextlib
    with contextlib.redirect_stdout(io.StringIO()): run_cli(["check","--deep","job.yaml"])
    if "models" in mods[0] or mods[0]=="all": import transformers
    n=bad=0; tot=0
    for m in mods:
        for case in importlib.import_module(m).CASES:
            if pat and pat not in case.name: continue
            f=base/str(n); f.mkdir(); f=f/"w"; f.mkdir(); make.good(f); n+=1
            try: case.make(f)
            except Exception as e:
                print("MAKE FAILED",case.name,repr(e)); continue
            before=make.tree(f); a=ask(case,f); after=make.tree(f); tot+=a.cpu
            wrong=faults(case,a,before,after)
            print(("BAD " if wrong else "ok  ")+f"{case.name:28s} {a.code} {' '.join(a.codes)} {a.cpu:.2f}s {a.growth/1e6:.0f}MB", "; ".join(wrong))
            if wrong: bad+=1; print("      "+a.said[:int(os.environ.get('N','600'))].replace("\n","\n      ") + ("\n ....."+a.said[-700:].replace("\n","\n      ") if len(a.said)>600 else ""))
    print(n,"cases",bad,"bad",f"{tot:.1f}s")
    import shutil; shutil.rmtree(base, ignore_errors=True)
main(sys.argv[1].split(","), sys.argv[2] if len(sys.argv)>2 else "")
