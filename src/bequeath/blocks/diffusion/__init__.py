"""Diffusion: how data turn into noise, and the ways back.

x_t = alpha_t x_0 + sigma_t eps with alpha^2 + sigma^2 = 1 and t in [0, 1]: data at 0, noise at 1.
The networks are those of `bequeath.given.zoo.denoiser`; what is there is not written again here.
"""
