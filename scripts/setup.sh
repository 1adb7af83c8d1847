#!/usr/bin/env bash
# Make this checkout ready to run: system packages, virtual environments from the locks, the programs themselves.
#
#   scripts/setup.sh [broker] [interop] [iec61850]
#
# Always: .venv from requirements/main.txt with our programs in it.
# broker:  Mosquitto, from the distribution if it is missing.
# interop: .venv-interop from requirements/interop.txt, other people's libraries for tests/interop.
# iec61850: the extra of that name from requirements/iec61850.txt, added to .venv; child processes alone load it.
#
# What is done leaves a stamp with the digest of what it was made from, so a second call only compares digests.
# A stamp is written last: whatever was interrupted is made anew by the next call.
# PYTHON=/path/to/python3 chooses the interpreter. Exit codes: 0 ready, 69 something is missing that we may not install,
# 70 a step failed, 64 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C.UTF-8

readonly log=build/setup.log
readonly oldest=11 # Python 3.11

say() { printf 'setup: %s\n' "$*" >&2; }

give_up() {
    local code=$1
    shift
    printf 'setup: %s\n' "$@" >&2
    exit "$code"
}

# run WHAT COMMAND...: one line of progress, the output into the log; on failure the log's end and what to do.
run() {
    local what=$1 began=$SECONDS
    shift
    say "$what ..."
    printf '\n== %s\n' "$what" >>"$log"
    if ! "$@" >>"$log" 2>&1 </dev/null 9>&-; then
        printf '%s\n' "---- end of $log" >&2
        tail -n 25 "$log" >&2
        printf '%s\n' "----" >&2
        give_up 70 "failed: $what" \
            "The whole log is $log. If the network was away, call make again: what is half made is made anew."
    fi
    say "$what: done in $((SECONDS - began)) s"
}

digest_of() { cat "$@" | sha256sum | cut -c1-64; }

is_suitable() { "$1" -c "import sys; sys.exit(sys.version_info < (3, $oldest))" 2>/dev/null; }

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

choose_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_suitable "$PYTHON" || give_up 69 "PYTHON=$PYTHON is no Python 3.$oldest or newer."
        python=$(command -v "$PYTHON")
        return
    fi
    # A distribution builds its interpreter with profiles, one compiled on the spot often goes without: then a node needs
    # an eighth more CPU.
    if is_suitable /usr/bin/python3 && has_venv /usr/bin/python3; then
        python=/usr/bin/python3
        return
    fi
    for candidate in python3 /usr/bin/python3 python3.11 python3.12 python3.13 python3.14; do
        if command -v "$candidate" >/dev/null && is_suitable "$candidate"; then
            python=$(command -v "$candidate")
            return
        fi
    done
    give_up 69 "Python 3.$oldest or newer is needed, found: $(python3 --version 2>/dev/null || echo none)." \
        "Install one (Debian 12 and Ubuntu 24.04 or newer have it) or call: make PYTHON=/path/to/python3.$oldest ..."
}

# Whether .venv or .venv-interop stands as its stamp says. The interpreter is started, since it may have gone.
environment_stands() {
    local folder=$1 stamp=$2
    [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$stamp" ] && "$folder/bin/python" -c '' 2>/dev/null
}

# The system packages that are missing, into the array `missing`. Needs `python` only where an environment must be made.
find_missing() {
    missing=()
    if [ "$make_main" = yes ] || [ "$make_interop" = yes ]; then
        choose_python
        if ! has_venv "$python"; then
            case $("$python" -c 'import sys; print(sys.base_prefix)') in
                /usr) missing+=("$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')") ;;
                *) give_up 69 "$python has no venv module. Choose another one: make PYTHON=/usr/bin/python3 ..." ;;
            esac
        fi
    fi
    if [ "$want_broker" = yes ] && ! command -v mosquitto >/dev/null; then
        missing+=(mosquitto)
    fi
}

install_missing() {
    local as_root=() apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
    local command="sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    command -v apt-get >/dev/null ||
        give_up 69 "missing on this system: ${missing[*]} (names of Debian's packages). Install them and call make again."
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            give_up 69 "missing: ${missing[*]}. You may not install packages without a password, so please run" "" \
                "    $command" "" "and call make again."
        fi
    fi
    # The demo and the tests start brokers of their own on free ports. The package would also start one for the whole
    # machine: mask it until the package is in, so that installing it opens no port.
    local masked=no
    if [[ " ${missing[*]} " == *" mosquitto "* ]] && [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl mask --runtime mosquitto.service >>"$log" 2>&1 && masked=yes
    fi
    # Fetching first tells lists that are absent or name versions that are gone from a failed installation.
    if ! "${as_root[@]}" "${apt[@]}" --download-only install --no-install-recommends "${missing[@]}" >>"$log" 2>&1 9>&-; then
        run "apt-get update" "${as_root[@]}" "${apt[@]}" update
    fi
    run "apt-get install ${missing[*]}" "${as_root[@]}" "${apt[@]}" install --no-install-recommends "${missing[@]}"
    if [ "$masked" = yes ]; then
        "${as_root[@]}" systemctl unmask --runtime mosquitto.service >>"$log" 2>&1 || true
        "${as_root[@]}" systemctl disable mosquitto.service >>"$log" 2>&1 || true
    elif [[ " ${missing[*]} " == *" mosquitto "* ]] && command -v invoke-rc.d >/dev/null; then
        # No systemd (a container, a chroot): the package's script may have started one all the same.
        "${as_root[@]}" invoke-rc.d mosquitto stop >>"$log" 2>&1 || true
        "${as_root[@]}" update-rc.d mosquitto disable >>"$log" 2>&1 || true
    fi
}

make_environment() {
    local folder=$1 lock=$2 stamp=$3
    rm -rf "$folder"
    run "$folder with $("$python" --version)" "$python" -m venv "$folder"
    run "packages of $lock" "$folder/bin/python" -m pip --disable-pip-version-check --no-input install \
        --progress-bar off --require-hashes --only-binary :all: -r "$lock"
    printf '%s\n' "$stamp" >"$folder/.stamp"
}

install_programs() {
    local stamp=$1
    rm -f .venv/.installed
    run "the programs" .venv/bin/python -m pip --disable-pip-version-check --no-input install \
        --no-deps --no-build-isolation --no-index -e .
    printf '%s\n' "$stamp" >.venv/.installed
}

install_iec61850() {
    local stamp=$1
    rm -f .venv/.iec61850
    run "packages of requirements/iec61850.txt" .venv/bin/python -m pip --disable-pip-version-check --no-input install \
        --progress-bar off --require-hashes --only-binary :all: -r requirements/iec61850.txt
    printf '%s\n' "$stamp" >.venv/.iec61850
}

want_broker=no want_interop=no want_iec61850=no
for part in "$@"; do
    case $part in
        broker) want_broker=yes ;;
        interop) want_interop=yes ;;
        iec61850) want_iec61850=yes ;;
        *) give_up 64 "unknown part: $part (known: broker, interop, iec61850)" ;;
    esac
done

# One set-up at a time in a checkout: `make -j` or two terminals wait for each other here.
mkdir -p build
exec 9>build/setup.lock
flock -n 9 || {
    say "waiting for another set-up of this checkout ..."
    flock 9
}

# The scripts in an environment hold its absolute path, so a checkout that moved needs a new one.
main_stamp="$(digest_of requirements/main.txt) $PWD"
interop_stamp="$(digest_of requirements/interop.txt) $PWD"
programs_stamp=$(digest_of setup.cfg pyproject.toml)
iec61850_stamp=$(digest_of requirements/main.txt requirements/iec61850.txt)

make_main=no make_interop=no
environment_stands .venv "$main_stamp" || make_main=yes
if [ "$want_interop" = yes ] && ! environment_stands .venv-interop "$interop_stamp"; then
    make_interop=yes
fi

find_missing
if [ "${#missing[@]}" -gt 0 ] || [ "$make_main" = yes ] || [ "$make_interop" = yes ]; then
    : >"$log"
fi
[ "${#missing[@]}" -eq 0 ] || install_missing
[ "$make_main" = no ] || make_environment .venv requirements/main.txt "$main_stamp"
[ "$make_interop" = no ] || make_environment .venv-interop requirements/interop.txt "$interop_stamp"
[ "$(cat .venv/.installed 2>/dev/null)" = "$programs_stamp" ] || install_programs "$programs_stamp"
if [ "$want_iec61850" = yes ] && [ "$(cat .venv/.iec61850 2>/dev/null)" != "$iec61850_stamp" ]; then
    install_iec61850 "$iec61850_stamp"
fi
