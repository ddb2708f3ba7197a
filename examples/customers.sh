#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Invoices in the order of the customers' levels: makes a list of commands from a table.
#
#   sh examples/customers.sh < orders.csv | pqrun run -j4
#
# orders.csv has lines such as `1042,gold,Maria Lopez`. Orders of paying
# customers run before all others. A rush order that is added an hour later
# (`pqrun add -p critical …`) still runs before all of them.
set -eu
awk -F, '
    BEGIN { level["gold"] = "high"; level["silver"] = "normal"; level["free"] = "low" }
    $1 ~ /^[0-9]+$/ {
        priority = ($2 in level) ? level[$2] : "normal"
        printf "./invoice %d    # pqrun: id=order-%d priority=%s tags=%s\n", $1, $1, priority, ($2 in level) ? $2 : "unknown"
    }'
