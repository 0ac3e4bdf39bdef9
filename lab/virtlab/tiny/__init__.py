"""A tiny Linux for guests, made in seconds: kernel, initramfs, and a disk that boots with BIOS and UEFI."""
