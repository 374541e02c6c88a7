"""Loops of training that PyTorch has no fast form of, in C++ for this machine's processor.

:mod:`.convolution` and :mod:`.blocks` multiply with the non-zero weights only; :mod:`.images` moves
training images; :mod:`.anneal` searches integers.
The sources in this folder are compiled on first use; programs are kept in the cache folder.
"""
