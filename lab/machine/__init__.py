"""One description for twin and lab: a twin's blueprint as a QEMU machine, and random ones that both can be."""
