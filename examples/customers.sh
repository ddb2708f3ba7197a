#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Invoices in the order of what customers pay for: from a table to a list of commands.
#
#   sh examples/customers.sh < orders.csv | pqrun run -j4
#
# orders.csv has lines such as `1042,gold,Maria Lopez`. Someone who pays waits for nobody who does not; a rush
# order added an hour later (`pqrun add -p critical …`) still goes before all of them.
set -eu
awk -F, '
    BEGIN { level["gold"] = "high"; level["silver"] = "normal"; level["free"] = "low" }
    $1 ~ /^[0-9]+$/ {
        priority = ($2 in level) ? level[$2] : "normal"
        printf "./invoice %d    # pqrun: id=order-%d priority=%s tags=%s\n", $1, $1, priority, ($2 in level) ? $2 : "unknown"
    }'
