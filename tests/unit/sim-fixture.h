/* SPDX-License-Identifier: MIT */
/*
 * One simulated disk for a test: writes of whole sectors that hold a letter each, and what a power
 * cut leaves of them, as a string. Each program includes it once.
 */
#ifndef TESTS_SIM_FIXTURE_H
#define TESTS_SIM_FIXTURE_H

#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/sim.h"

#define S 512

static SimPower *power;
static SimDisk *disk;
static BlockBackend *blk;

static inline void setup(int64_t size)
{
    power = sim_power_new(g_test_rand_int());
    disk = sim_disk_new(power, NULL, size, &error_abort);
    blk = sim_disk_open(disk, NULL, BDRV_O_RDWR | BDRV_O_RESIZE | BDRV_O_UNMAP, &error_abort);
}

static inline void teardown(void)
{
    blk_unref(blk);
    sim_power_unref(power);
}

/* Writes @n sectors of @value. */
static inline int put_flags(int64_t sector, unsigned n, uint8_t value, BdrvRequestFlags flags)
{
    g_autofree uint8_t *buf = g_malloc(n * S);

    memset(buf, value, n * S);
    return blk_pwrite(blk, sector * S, n * S, buf, flags);
}

static inline void put(int64_t sector, unsigned n, uint8_t value)
{
    g_assert_cmpint(put_flags(sector, n, value, 0), ==, 0);
}

static inline void flush(void)
{
    g_assert_cmpint(blk_flush(blk), ==, 0);
}

/* A supply with the disks of the state. */
static inline SimPower *load(SimState *state)
{
    SimPower *to = sim_power_new(0);

    sim_power_load(to, state);
    sim_state_unref(state);
    return to;
}

/* The first bytes of the first sectors as a cut at @time with that choice leaves them. */
static inline char *after_disk(uint64_t time, const char *choice, unsigned number)
{
    g_autoptr(SimCut) cut = sim_cut_new(power, time);
    g_autoptr(SimPower) to = NULL;
    GString *s = g_string_new(NULL);
    SimChoice c;

    g_assert_true(sim_choice_parse(choice, &c, &error_abort));
    to = load(sim_cut_state(cut, c));
    for (int i = 0; i < 8; i++) {
        uint8_t byte;

        sim_disk_peek(sim_power_disk(to, number), i * S + 3, &byte, 1);
        g_string_append_c(s, byte ? byte : '.');
    }
    return g_string_free(s, FALSE);
}

static inline char *after(uint64_t time, const char *choice)
{
    return after_disk(time, choice, 0);
}

/* The first sectors after a cut, a letter each; a dot: zeroes. */
#define assert_after(time, choice, expected)        \
    do {                                            \
        g_autofree char *found_ = after(time, choice); \
        g_assert_cmpstr(found_, ==, expected);      \
    } while (0)

/* Arms the faults of a script for the disk. */
static inline void fail(const char *script)
{
    g_assert_true(sim_power_script_faults(power, disk, script, &error_abort));
}

#endif
