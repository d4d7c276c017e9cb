// SPDX-License-Identifier: GPL-2.0
/* Functions for what the socket layer has as inline functions or macros. */

#include "shims_net.h"
