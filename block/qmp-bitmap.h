/* block/qmp-bitmap.h - steps of transactions with bitmaps: done at once, then kept or undone. Coroutines of the VM loop. */
#ifndef BLOCK_QMP_BITMAP_H
#define BLOCK_QMP_BITMAP_H
#include "block/qmp-job.h"

typedef struct BitmapStep {
    enum { BITMAP_NOTHING, BITMAP_ADDED, BITMAP_REMOVED, BITMAP_CHANGED, BITMAP_SWITCHED } kind;
    DirtyBitmap *b, *before;
    bool was_disabled;
} BitmapStep;
CO_FN bool bitmap_add(Vm *vm, const BlockDirtyBitmapAdd *a, BitmapStep *s, Error **err);
CO_FN bool bitmap_remove(Vm *vm, const BlockDirtyBitmap *a, BitmapStep *s, Error **err);
CO_FN bool bitmap_clear(Vm *vm, const BlockDirtyBitmap *a, BitmapStep *s, Error **err);
CO_FN bool bitmap_record(Vm *vm, const BlockDirtyBitmap *a, bool record, BitmapStep *s, Error **err);
CO_FN bool bitmap_merge(Vm *vm, const BlockDirtyBitmapMerge *a, BitmapStep *s, Error **err);
void bitmap_undo(BitmapStep *s);
void bitmap_keep(BitmapStep *s);
#endif
