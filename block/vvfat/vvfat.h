/*
 * block/vvfat/vvfat.h - a folder of the host as a disk with one FAT file system (Microsoft's "FAT32 File System Specification", 1.03): its
 * tables and directories are made once, in memory; what is in files is read when the guest asks. What the guest writes goes
 * into a temporary file, never to the folder.
 *   MBR (no floppy) .. | boot sector .. | FAT | FAT | root directory (not FAT32) | clusters
 */
#ifndef BLOCK_VVFAT_H
#define BLOCK_VVFAT_H
#include "block/node.h"

enum { FAT_SECTOR = 512, FAT_ENTRY = 32, FAT_FIRST = 2 /* the first cluster's number */, FAT_FILES_MAX = 65536, FAT_DEPTH_MAX = 32,
       FAT_DIRECTORY = 0x10, FAT_ARCHIVE = 0x20, FAT_LABEL = 8, FAT_READONLY = 1, FAT_LONG = 15 };
typedef struct FatFile FatFile;
struct FatFile { /* or a directory */
    char *path, *name;
    uint8_t short_name[11];
    bool dir, readonly;
    uint64_t size;    /* of a file */
    int64_t mtime;
    GPtrArray *files; /* of a directory, sorted by name */
    GByteArray *bytes; /* of a directory: its entries */
    uint32_t first, clusters; /* where it lies; 0: nowhere, it is empty */
};
typedef struct FatDisk {
    unsigned type; /* 12, 16, 32 */
    bool floppy;
    char label[12];
    uint64_t sectors; /* of the disk */
    uint32_t heads, per_track, cylinders, start /* sector of the boot sector */, per_cluster, reserved, fat_sectors, root_entries, clusters;
    uint32_t data;    /* sector of the first cluster, from the disk's start */
    uint8_t *meta;    /* all sectors before it */
    FatFile *root;
    GPtrArray *placed; /* of FatFile, by first cluster; borrowed from the tree */
} FatDisk;

/* tree.c: the folder as it is now, bounded; special files are left out with a warning */
FatFile *fat_scan(const char *dir, Error **err);
void fat_tree_free(FatFile *f); /* NULL is fine */
/* The entries of a directory whose children have their places; parent's cluster 0: it is the root */
void fat_entries(const FatDisk *d, FatFile *dir, uint32_t parent);
/* layout.c: everything else, from type, floppy, label and root */
bool fat_lay_out(FatDisk *d, const char *dir, Error **err);
uint32_t fat_entry_count(const FatFile *dir, bool root); /* how many entries fat_entries makes */
#endif
