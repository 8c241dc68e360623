/*
 * ui/ui.h - screens and hands as devices see them. A display device owns a UiConsole, draws into its
 * surface and says what changed; a front end (SDL, none, later VNC) decides when to look. Input goes
 * the other way through handlers that input devices register.
 * VM lock, except what says otherwise.
 */
#ifndef UI_UI_H
#define UI_UI_H
#include "util/error.h"
#include "util/opts.h"
#include <pixman.h>

typedef struct Vm Vm;
typedef struct UiConsole UiConsole;
typedef struct UiConsoleOps { /* the display device */
    void (*update)(void *o);      /* bring the surface up to date and report damage; called per refresh */
    void (*invalidate)(void *o);  /* redraw everything on the next update */
    void (*text)(void *o, GString *out); /* the screen as text (text modes), or NULL */
    void *o;
} UiConsoleOps;
UiConsole *ui_console_new(Vm *vm, const char *name, const UiConsoleOps *ops); /* index in order */
void ui_console_free(UiConsole *c);
/* x8r8g8b8 surface of the console, reallocated; the old one lives until front ends drop it. */
pixman_image_t *ui_resize(UiConsole *c, int w, int h);
/* Shares guest memory: formats pixman knows; data stays valid until the next ui_resize/ui_share. */
pixman_image_t *ui_share(UiConsole *c, int w, int h, pixman_format_code_t fmt, void *data, int stride);
pixman_image_t *ui_surface(UiConsole *c);
void ui_damage(UiConsole *c, int x, int y, int w, int h);
uint32_t ui_cp437(uint8_t c); /* the Unicode character of a PC's text mode; a space for 0 and 255 */
void ui_define_cursor(UiConsole *c, int w, int h, int hot_x, int hot_y, const uint32_t *argb); /* or NULL: none */

/* ---- input ---- */
typedef enum UiEventKind { UI_KEY, UI_BUTTON, UI_REL, UI_ABS } UiEventKind;
typedef enum UiButton { UI_LEFT, UI_MIDDLE, UI_RIGHT, UI_WHEEL_UP, UI_WHEEL_DOWN, UI_SIDE, UI_EXTRA, UI_WHEEL_LEFT, UI_WHEEL_RIGHT, UI_BUTTONS } UiButton;
typedef struct UiEvent {
    UiEventKind kind;
    uint16_t key;    /* UI_KEY: Linux input code (KEY_*); the one key space inside */
    bool down;       /* keys and buttons */
    uint8_t button;  /* UiButton */
    uint8_t axis;    /* 0 x, 1 y */
    int32_t value;   /* rel: pixels; abs: 0..0x7fff over the console */
    UiConsole *console; /* or NULL */
} UiEvent;
typedef struct UiInput { /* an input device */
    const char *name;
    unsigned takes;      /* bit per UiEventKind */
    void (*event)(void *o, const UiEvent *e);
    void (*sync)(void *o);      /* end of one packet of events */
    unsigned (*room)(void *o);  /* key events it can queue now; NULL: any. Typing is paced by it, never lost. */
    void *o;
    unsigned id; /* ui's: its number for query-mice */
} UiInput;
void ui_input_add(Vm *vm, const UiInput *i);  /* the last added of a kind gets the events (tablet wins over mouse for abs) */
void ui_input_del(Vm *vm, void *o);
void ui_input_activate(Vm *vm, void *o);      /* to the front */
void ui_input_room(Vm *vm, void *o);          /* room() may have grown: send queued keys */
void ui_input_send(Vm *vm, const UiEvent *v, unsigned n); /* a packet: events then sync; enters through door_input */
bool ui_wants_abs(Vm *vm);
bool ui_takes(Vm *vm, UiEventKind kind); /* some device does */
/* Key names of QMP (QKeyCode), send-key, and set-1 scancodes, one table ui/keys.def */
int ui_key_by_qcode(const char *qcode);   /* -1 unknown */
const char *ui_qcode(uint16_t key);
int ui_key_to_set1(uint16_t key);         /* 0xe0xx for extended; -1 none */
int ui_key_to_set2(uint16_t key);
int ui_key_to_usb(uint16_t key);
int ui_key_from_set1(unsigned scancode);
int ui_key_by_number(unsigned scancode);  /* send-key's {"type":"number"}: set 1, 0x80 set or 0xe0xx for extended; -1 */
/* Press the keys in order, release them in reverse after hold_ns of VM time; queued behind what is being typed. */
void ui_send_keys(Vm *vm, const uint16_t *keys, unsigned n, int64_t hold_ns);
bool ui_type(Vm *vm, const char *text, Error **err); /* ASCII on a US keyboard; paced like send-key */
void ui_release_all(Vm *vm);                         /* focus was lost: no key or button stays down */
/* LEDs: caps 1, num 2, scroll 4 */
void ui_set_leds(Vm *vm, unsigned leds);
#endif
