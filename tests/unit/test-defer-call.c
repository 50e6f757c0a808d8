/* SPDX-License-Identifier: MIT */
/* Deferred calls: when, how often, in which order. */
#include "qemu/osdep.h"
#include "qemu/defer-call.h"
#include "qemu/thread.h"

static GString *record;

static void say(void *opaque)
{
    g_string_append(record, opaque);
}

static void say_too(void *opaque)
{
    g_string_append_printf(record, "(%s)", (const char *)opaque);
}

static char a[] = "a", b[] = "b", c[] = "c";

static void test_outside_a_section_calls_at_once(void)
{
    defer_call(say, a);
    defer_call(say, a);
    g_assert_cmpstr(record->str, ==, "aa");
}

static void test_in_a_section_waits_for_its_end(void)
{
    defer_call_begin();
    defer_call(say, b);
    defer_call(say, a);
    defer_call(say, b);
    defer_call(say_too, b);
    g_assert_cmpstr(record->str, ==, "");
    defer_call_end();
    /* Once each, in order of the first mention; another function is another call. */
    g_assert_cmpstr(record->str, ==, "ba(b)");
    defer_call_begin();
    defer_call_end();
    g_assert_cmpstr(record->str, ==, "ba(b)");
}

static void test_nested_sections_wait_for_the_outermost(void)
{
    defer_call_begin();
    defer_call(say, a);
    defer_call_begin();
    defer_call(say, b);
    defer_call(say, a);
    defer_call_end();
    g_assert_cmpstr(record->str, ==, "");
    defer_call(say, c);
    defer_call_end();
    g_assert_cmpstr(record->str, ==, "abc");
}

static void test_flush_calls_inside_a_section(void)
{
    defer_call_begin();
    defer_call(say, a);
    defer_call_flush();
    g_assert_cmpstr(record->str, ==, "a");
    defer_call(say, a);
    g_assert_cmpstr(record->str, ==, "a");
    defer_call_end();
    g_assert_cmpstr(record->str, ==, "aa");
    defer_call_flush();
    g_assert_cmpstr(record->str, ==, "aa");
}

static void with_section(void *opaque)
{
    say(a);
    defer_call_begin();
    defer_call(say, b);
    defer_call(say, b);
    say(a);
    defer_call_end();
    defer_call(say, c);
}

static void test_call_may_open_sections(void)
{
    defer_call_begin();
    defer_call(with_section, NULL);
    defer_call(say, c);
    defer_call_end();
    g_assert_cmpstr(record->str, ==, "aabcc");
}

static int count;

static void count_one(void *opaque)
{
    g_assert_cmpint(GPOINTER_TO_INT(opaque), ==, count);
    count++;
}

static void test_many_calls_keep_their_order(void)
{
    count = 0;
    defer_call_begin();
    for (int i = 0; i < 1000; i++) {
        defer_call(count_one, GINT_TO_POINTER(i));
        defer_call(count_one, GINT_TO_POINTER(i / 2));
    }
    defer_call_end();
    g_assert_cmpint(count, ==, 1000);
}

static void *other_thread(void *opaque)
{
    /* The section of the thread that started this one is not this one's. */
    defer_call(say, b);
    defer_call_begin();
    defer_call(say, c);
    defer_call_end();
    return NULL;
}

static void test_section_belongs_to_its_thread(void)
{
    QemuThread thread;

    defer_call_begin();
    defer_call(say, a);
    qemu_thread_create(&thread, "other", other_thread, NULL, QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    g_assert_cmpstr(record->str, ==, "bc");
    defer_call_end();
    g_assert_cmpstr(record->str, ==, "bca");
}

static void test_die_end_without_begin(void)
{
    if (g_test_subprocess()) {
        defer_call_end();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*no section is open*");
}

static void with_record(gconstpointer fn)
{
    record = g_string_new(NULL);
    ((void (*)(void))fn)();
    g_string_free(record, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/defer-call/outside", test_outside_a_section_calls_at_once,
                         with_record);
    g_test_add_data_func("/defer-call/section", test_in_a_section_waits_for_its_end,
                         with_record);
    g_test_add_data_func("/defer-call/nested",
                         test_nested_sections_wait_for_the_outermost, with_record);
    g_test_add_data_func("/defer-call/flush", test_flush_calls_inside_a_section,
                         with_record);
    g_test_add_data_func("/defer-call/inner", test_call_may_open_sections, with_record);
    g_test_add_data_func("/defer-call/many", test_many_calls_keep_their_order,
                         with_record);
    g_test_add_data_func("/defer-call/thread", test_section_belongs_to_its_thread,
                         with_record);
    g_test_add_func("/defer-call/die/end", test_die_end_without_begin);
    return g_test_run();
}
