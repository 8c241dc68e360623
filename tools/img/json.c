/* tools/img/json.c - JSON as QEMU prints it: pretty, four blanks a level, ": " between key and value. */
#include "tools/img/img.h"

static void item(Json *j, const char *key)
{
    if (!j->out)
        j->out = g_string_new(NULL);
    if (j->depth && !j->first)
        g_string_append_c(j->out, ',');
    if (j->depth)
        g_string_append_printf(j->out, "\n%*s", j->depth * 4, "");
    if (key)
        g_string_append_printf(j->out, "\"%s\": ", key);
    j->first = false;
}

void json_open(Json *j, const char *key, char bracket)
{
    item(j, key);
    g_string_append_c(j->out, bracket);
    j->depth++;
    j->first = true;
}

void json_close(Json *j, char bracket)
{
    j->depth--;
    g_string_append_printf(j->out, "\n%*s%c", j->depth * 4, "", bracket);
    j->first = false;
}

void json_bare(Json *j, const char *key, const char *value)
{
    item(j, key);
    g_string_append(j->out, value);
}

void json_number(Json *j, const char *key, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64, value);

    json_bare(j, key, text);
}

void json_text(Json *j, const char *key, const char *value)
{
    item(j, key);
    g_string_append_c(j->out, '"');
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_printf(j->out, "\\%c", *p);
        else if ((unsigned char)*p < 32)
            g_string_append_printf(j->out, "\\u%04x", *p);
        else
            g_string_append_c(j->out, *p);
    }
    g_string_append_c(j->out, '"');
}

void json_print(Json *j)
{
    puts(j->out->str);
    g_string_free(j->out, TRUE);
    j->out = NULL;
}
