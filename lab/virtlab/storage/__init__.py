"""The bytes of volumes: sparse files of the machine that the lab runs on, and what images are made of."""
