/* SPDX-License-Identifier: MIT */
/* Widths and formats are qemu-img 7.2's, so that scripts that cut columns go on working. */
#include "snapshot-list.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "qemu/cutils.h"

#define NS_PER_SECOND 1000000000ULL

static void print_snapshot(const QEMUSnapshotInfo *sn, int indent)
{
    g_autofree char *size = size_to_str(sn->vm_state_size);
    uint64_t seconds = sn->vm_clock_nsec / NS_PER_SECOND;
    time_t when = sn->date_sec;
    char date[64] = "", clock[64], icount[32] = "";
    struct tm tm;

    if (localtime_r(&when, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
    snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02d:%02d.%03d", seconds / 3600,
             (int)(seconds / 60 % 60), (int)(seconds % 60),
             (int)(sn->vm_clock_nsec / 1000000 % 1000));
    if (sn->icount != UINT64_MAX) {
        snprintf(icount, sizeof(icount), "%" PRId64, (int64_t)sn->icount);
    }
    printf("%*s%-9s %-16s %8s%20s%13s%11s\n", indent, "", sn->id_str, sn->name, size, date, clock,
           icount);
}

void snapshot_list_print(const QEMUSnapshotInfo *list, int n, int indent)
{
    if (n <= 0) {
        return;
    }
    printf("%*sSnapshot list:\n", indent, "");
    printf("%*s%-10s%-17s%8s%20s%13s%11s\n", indent, "", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (int i = 0; i < n; i++) {
        print_snapshot(&list[i], indent);
    }
}

static json_t *json_text(const char *s)
{
    /* A name may be any bytes, JSON is UTF-8. */
    g_autofree char *valid = g_utf8_make_valid(s, -1);

    return json_string(valid);
}

json_t *snapshot_list_to_json(const QEMUSnapshotInfo *list, int n)
{
    json_t *array = json_array();

    for (int i = 0; i < n; i++) {
        const QEMUSnapshotInfo *sn = &list[i];
        json_t *obj = json_object();

        json_object_set_new(obj, "id", json_text(sn->id_str));
        json_object_set_new(obj, "name", json_text(sn->name));
        json_object_set_new(obj, "vm-state-size", json_integer(sn->vm_state_size));
        json_object_set_new(obj, "date-sec", json_integer(sn->date_sec));
        json_object_set_new(obj, "date-nsec", json_integer(sn->date_nsec));
        json_object_set_new(obj, "vm-clock-sec", json_integer(sn->vm_clock_nsec / NS_PER_SECOND));
        json_object_set_new(obj, "vm-clock-nsec",
                            json_integer(sn->vm_clock_nsec % NS_PER_SECOND));
        if (sn->icount != UINT64_MAX) {
            json_object_set_new(obj, "icount", json_integer(sn->icount));
        }
        json_array_append_new(array, obj);
    }
    return array;
}
