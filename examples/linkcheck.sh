#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Checks the links of Markdown files: each address once, eight at a time, no more than 20 a second.
#
#   sh examples/linkcheck.sh README.md docs/*.md
#
# Ends with exit code 1 and a list if links are broken. Requests to busy servers are retried,
# requests to unknown hosts (6: no such host) are not.
set -eu
grep -ohE 'https?://[^] )>"`]+' "$@" | sed 's/[.,;:]*$//' | sort -u |
    pqrun each --quiet --show failed -j8 --rate 20/1s --timeout 30s \
        --retries 2 --retry-delay 1s --permanent 6 \
        'curl --silent --show-error --location --head --fail --output /dev/null {}'
