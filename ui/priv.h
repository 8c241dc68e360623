/* ui/priv.h - between ui's files. VM lock. */
#ifndef UI_PRIV_H
#define UI_PRIV_H
#include "core/vm.h"
#include "ui/front.h"
#include <linux/input-event-codes.h>

enum { UI_KEYS = 512, UI_QUEUE = 4096 };
typedef struct Ui { /* one per VM, made on first use, freed with it */
    Vm *vm;
    GPtrArray *consoles; /* of UiConsole *, freed slots NULL */
    GPtrArray *inputs;   /* of UiInput * (copies), the front last */
    GQueue keys;         /* of Queued * */
    Timer pace;
    bool flushing;
    uint8_t down[UI_KEYS]; /* as the devices saw it */
    uint32_t buttons;
    unsigned leds, next_input;
    GPtrArray *faces; /* font.c's, or NULL */
    GHashTable *waits; /* wait.c's, or NULL: id -> Wait * */
} Ui;
Ui *ui__of(Vm *vm);
/* A screen by its card's id (NULL: any card) and number on it; NULL + err. */
UiConsole *ui__console_of(Vm *vm, const char *device, int64_t head, Error **err);
#endif
