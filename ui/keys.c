/* ui/keys.c - the one key table (keys.def) and the ways to look into it. Pure, any thread. */
#include "ui/priv.h"

typedef struct Key {
    uint16_t code;
    const char *qcode;
    int32_t set1, set2, usb;
} Key;
#define KEY(code, qcode, set1, set2, usb, sdl) { code, qcode, set1, set2, usb },
static const Key keys[] = {
#include "ui/keys.def"
};
#undef KEY

static const Key *find(uint16_t code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (keys[i].code == code)
            return &keys[i];
    return NULL;
}

int ui_key_by_qcode(const char *qcode)
{
    static const struct {
        const char *alias, *name;
    } aliases[] = { { "asterisk", "kp_multiply" },
                    { "altgr", "alt_r" },
                    { "altgr_r", "alt_r" },
                    { "lf", "ret" },
                    { "compose", "menu" } };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (!strcmp(keys[i].qcode, qcode))
            return keys[i].code;
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (!strcmp(aliases[i].alias, qcode))
            return ui_key_by_qcode(aliases[i].name);
    return -1;
}

const char *ui_qcode(uint16_t key)
{
    const Key *k = find(key);

    return k ? k->qcode : NULL;
}

int ui_key_to_set1(uint16_t key)
{
    const Key *k = find(key);

    return k ? k->set1 : -1;
}

int ui_key_to_set2(uint16_t key)
{
    const Key *k = find(key);

    return k ? k->set2 : -1;
}

int ui_key_to_usb(uint16_t key)
{
    const Key *k = find(key);

    return k ? k->usb : -1;
}

int ui_key_from_set1(unsigned scancode)
{
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (keys[i].set1 == (int32_t)scancode)
            return keys[i].code;
    return -1;
}

int ui_key_by_number(unsigned scancode)
{
    if (scancode > 0x7f && scancode < 0x100)
        scancode = 0xe000 | (scancode & 0x7f);
    return ui_key_from_set1(scancode);
}
