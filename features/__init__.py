"""Inputs, and everything that keeps data: definitions, kernels, bitemporal rows, snapshots, blobs and the row codec.

A leaf: it imports no other room.
"""
