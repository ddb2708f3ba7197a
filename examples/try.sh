#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Tries an example in a new directory, which gets the files that the example needs. Programs such as
# ffmpeg and pg_dump are replaced by stand-ins, which take a moment and write small files.
#
#   sh examples/try.sh                 lists the examples
#   sh examples/try.sh images          tries images.yaml
#   sh examples/try.sh all             tries all, one after another
set -eu

NAMES="quickstart nightly pipeline limits images archives transcode downloads linkcheck crawler
customers dumps sweep ci nightly-backup export_queue dashboard try_later idempotent"

examples=$(cd "$(dirname "$0")" && pwd)
server=

stand_in() { # NAME: makes a program of that name, from standard input
    mkdir -p bin
    { echo '#!/bin/sh'; cat; } > "bin/$1"
    chmod +x "bin/$1"
}

says_its_words() { # NAME...: makes programs that print how they were called
    for program; do
        stand_in "$program" << 'END'
sleep 0.3; echo "(stand-in) $(basename "$0") $*"
END
    done
}

serve() { # COMMAND...: starts a server that says its address in its first line; sets $address
    "$@" > server.out 2>&1 &
    server=$!
    until address=$(grep -o 'http://[0-9.:]*/' server.out); do sleep 0.1; done
}

run() { # COMMAND...: prints and runs it
    echo "$ $*" >&2
    "$@"
}

prepare() { # NAME: makes what the example needs
    case $1 in
    images)
        mkdir photos
        for photo in beach "old town" harbour; do echo photo > "photos/$photo.jpg"; done
        stand_in convert << 'END'
for last; do :; done
sleep 0.3; cp "$1" "$last"
END
        ;;
    archives)
        for project in north "south wing" attic; do
            mkdir -p "projects/$project"
            echo "$project" > "projects/$project/plan.txt"
        done
        ;;
    transcode)
        mkdir incoming
        for film in wedding holiday garden; do echo film > "incoming/$film.mkv"; done
        stand_in ffprobe << 'END'
echo 4.0
END
        stand_in ffmpeg << 'END'
for last; do :; done
for second in 1 2 3 4; do sleep 0.5; echo "out_time_us=${second}000000"; done
echo film > "$last"
END
        ;;
    downloads)
        serve python3 "$examples/flaky_server.py" 0
        for file in a b c d; do echo "$address$file.txt"; done > urls.txt
        ;;
    linkcheck)
        serve python3 "$examples/flaky_server.py" 0
        echo "[one](${address}one), [two](${address}two), and <${address}three>." > page.md
        ;;
    crawler)
        mkdir site
        for page in 0 1 2 3 4 5; do
            echo "<a href='page$((page / 2)).html'>back</a> <a href='page$((page * 2 % 6)).html'>on</a>" \
                "<a href='page$((page * 2 % 6 + 1)).html'>further</a>" > "site/page$page.html"
        done
        serve python3 -u -m http.server 0 --bind 127.0.0.1 --directory site
        ;;
    customers)
        printf '%s\n' order,tier,name 1040,free,Kim 1041,silver,Ola 1042,gold,Maria > orders.csv
        stand_in invoice << 'END'
sleep 0.3; echo "invoice for order $1"
END
        mv bin/invoice .
        ;;
    dumps)
        stand_in pg_dump << 'END'
sleep 0.5; echo "$7" > "$6"
END
        says_its_words pg_restore
        ;;
    ci) says_its_words ruff mypy tox python3 ;;
    nightly-backup) says_its_words pg_dump rsync ssh logger ;;
    esac
}

try() { # NAME: tries the example in a new directory, in a process of its own
    if [ -f "$examples/$1.yaml" ]; then
        run pqrun run "$examples/$1.yaml"
    elif [ -f "$examples/$1.txt" ]; then
        run pqrun run "$examples/$1.txt"
    else
        case $1 in
        linkcheck) run sh "$examples/linkcheck.sh" page.md && echo "no broken links" ;;
        customers)
            run sh "$examples/customers.sh" < orders.csv > list.txt
            run pqrun run -j2 list.txt
            ;;
        crawler) run "$python" "$examples/crawler.py" "${address}page0.html" ;;
        *) run "$python" "$examples/$1.py" ;;
        esac
    fi
}

# The pqrun on the path, else the one that the README installs into the clone.
if ! command -v pqrun > /dev/null; then
    PATH=$(dirname "$examples")/.venv/bin:$PATH
    command -v pqrun > /dev/null || { echo "try.sh: install pqrun first: see README.md" >&2; exit 2; }
fi
python=python3
"$python" -c 'import pqrun' 2> /dev/null || python=$(dirname "$(command -v pqrun)")/python3

case ${1:-} in
"") echo "usage: sh examples/try.sh all, or one of: $(echo $NAMES)"; exit 0 ;;
all) set -- $NAMES ;;
*)
    case " $(echo $NAMES) " in
    *" $1 "*) set -- "$1" ;;
    *) echo "try.sh: no example \`$1\`; there are: $(echo $NAMES)" >&2; exit 2 ;;
    esac
    ;;
esac

place=$(mktemp -d "${TMPDIR:-/tmp}/pqrun-try.XXXXXX")
trap '[ -z "$server" ] || kill "$server" 2> /dev/null' EXIT
failed=
for name; do
    mkdir "$place/$name" && cd "$place/$name"
    echo "── $name, in $PWD"
    prepare "$name"
    (PATH=$PWD/bin:$PATH; try "$name") || failed="$failed $name"
    [ -z "$server" ] || { kill "$server"; server=; }
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
