/* hw/block/fdc.h - floppy drives as their controller and the machine see them. VM lock. */
#ifndef HW_BLOCK_FDC_H
#define HW_BLOCK_FDC_H
#include "block/disk.h"
#include "core/dev.h"
#include "core/vm.h"

enum { FLOPPY_SECTOR = 512, FLOPPY_UNITS = 2 };
typedef enum FloppyType { FLOPPY_AUTO, FLOPPY_144, FLOPPY_288, FLOPPY_120, FLOPPY_NONE } FloppyType;
typedef struct FloppyGeometry {
    uint8_t tracks, heads, sectors /* of 512 bytes on a track */;
    uint8_t rate; /* as the data-rate select registers spell it: 0 500, 1 300, 2 250, 3 1000 kbit/s */
} FloppyGeometry;
typedef struct Floppy {
    Dev dev;
    Disk *disk;
    DiskConf conf;
    uint32_t unit;
    int32_t bootindex;
    uint8_t type;  /* property: FloppyType */
    uint8_t track; /* where the head is */
    uint8_t changed; /* the line of that name: a medium came or went since the last step with one in */
} Floppy;
#define FLOPPY(d) ((Floppy *)(d))

typedef struct FloppyBus {
    Bus bus; /* "floppy-bus.0", type "floppy-bus" */
    Floppy *unit[FLOPPY_UNITS];
    void (*gone)(Dev *controller, unsigned unit); /* a drive is being unplugged */
} FloppyBus;
FloppyBus *floppy_bus_new(Dev *controller, void (*gone)(Dev *controller, unsigned unit));
bool floppy_ready(const Floppy *f); /* there is a medium */
FloppyGeometry floppy_geometry(const Floppy *f); /* of the medium, by its size */
void floppy_step(Floppy *f, unsigned track);     /* the head moves there */
/* What CMOS calls the drive of that unit: 0 none, 2 1.2 MB, 4 1.44 MB, 5 2.88 MB. */
uint8_t fdc_drive_type(const Dev *fdc, unsigned unit);
#endif
