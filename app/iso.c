/* app/iso.c - is an ISO 9660 image whole? ECMA-119, 8.4.8 (volume space size) and 8.4.12 (block size). */
#include "app/app.h"
#include <stdio.h>

bool app_iso_whole(const char *path, Error **err)
{
    FILE *f = fopen(path, "rbe");
    uint8_t v[132] = { 0 };
    uint64_t want = 0;
    long have = -1;

    if (!f)
        return true; /* said where it is opened for good */
    if (!fseek(f, 0x8000, SEEK_SET) && fread(v, 1, sizeof(v), f) == sizeof(v) && !memcmp(v, "\1CD001", 6))
        want = (uint64_t)le32_load(v + 80) * le16_load(v + 128);
    if (!fseek(f, 0, SEEK_END))
        have = ftell(f);
    fclose(f);
    return !want || have < 0 || (uint64_t)have >= want ||
           fail(err, "%s: the image is cut off: it has %ld of %" PRIu64 " bytes", path, have, want);
}
