/* app/image.h - what kind of thing an image file is: `menura run` looks before it chooses a machine. */
#ifndef APP_IMAGE_H
#define APP_IMAGE_H
#include "util/error.h"

typedef enum ImageKind { IMAGE_UNKNOWN, IMAGE_ISO, IMAGE_DISK, IMAGE_UEFI_DISK, IMAGE_FORMAT, IMAGE_BZIMAGE, IMAGE_ELF, IMAGE_EFI_APP } ImageKind;
/* IMAGE_UNKNOWN + err: cannot be read, or nothing that boots. */
ImageKind image_look(const char *path, Error **err);
/* Of an IMAGE_FORMAT: the block driver that knows it by its first bytes; else "raw". */
const char *image_format(const char *path);
/* UEFI firmware: its code, and this image's own variables in the user's data folder, made on first use. False + err: not installed. */
bool image_firmware(const char *path, char **code, char **vars, Error **err);
#define OVMF_WHOLE "OVMF.fd" /* code and variables in one file, without memory */
#endif
