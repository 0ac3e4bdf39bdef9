"""How bytes get into and out of the lab's volumes: uploads, imports, copies, exports."""
