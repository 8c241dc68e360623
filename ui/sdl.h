/* ui/sdl.h - between the SDL front end's files. Main thread only; nobody else includes SDL. */
#ifndef UI_SDL_H
#define UI_SDL_H
#include "ui/priv.h"
#include <SDL.h>

typedef struct SdlWindow {
    Vm *vm;
    UiView *view; /* NULL until there is a console */
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    SDL_Cursor *cursor;
    int w, h; /* of the guest's screen */
    bool linear, fullscreen, grabbed, focused, hidden, redraw, close_asked, show_cursor;
    bool grab_keys_held; /* the hot key's letter: its release is ours too */
    RunState state;
    int64_t cursor_x,
        cursor_y; /* fractions of relative motion that scaling left over, 1/256 pixel */
} SdlWindow;
void sdl__key(SdlWindow *s, const SDL_KeyboardEvent *e);
void sdl__pointer(SdlWindow *s, const SDL_Event *e);
void sdl__grab(SdlWindow *s, bool on);
void sdl__title(SdlWindow *s);
void sdl__fullscreen(SdlWindow *s, bool on);
void sdl__place(const SdlWindow *s, SDL_Rect *out); /* where the guest's screen is in the window */
#endif
