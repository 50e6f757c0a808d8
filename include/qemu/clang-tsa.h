/* SPDX-License-Identifier: MIT */
/* The names of the thread safety analysis are in compiler.h. */
#ifndef QEMU_CLANG_TSA_H
#define QEMU_CLANG_TSA_H

#include "qemu/compiler.h"

#endif
