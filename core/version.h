/* core/version.h - the QEMU version whose vocabulary we speak; clients read it in -version, greetings and help. */
#ifndef CORE_VERSION_H
#define CORE_VERSION_H

enum { QEMU_MAJOR = 10, QEMU_MINOR = 0, QEMU_MICRO = 2 };
#define QEMU_VERSION "10.0.2"
#endif
