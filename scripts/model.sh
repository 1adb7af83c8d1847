#!/usr/bin/env bash
# Runs the model of agreement (tests/model/pbft.qnt) at random: the sound one must hold, the one with a bug must not.
# usage: scripts/model.sh SAMPLES
set -euo pipefail
cd "$(dirname "$0")/.."
samples=${1:-100}
steps=45
# found so: each shows in the first sample of its seed
bug_seed=0x9f2a8eebcb030
epoch_seed=0x194d92c8f30c96
epoch_steps=90

command -v npm > /dev/null || { echo 'model: needs Node.js 18 or later; on Debian: apt-get install nodejs npm' >&2; exit 69; }
folder=build/model
mkdir -p "$folder"
if ! cmp --silent tests/model/package-lock.json "$folder/package-lock.json"; then
    cp tests/model/package.json tests/model/.npmrc "$folder/"
    cp tests/model/package-lock.json "$folder/package-lock.new"
    (cd "$folder" && cp package-lock.new package-lock.json && npm ci --silent) || { rm -f "$folder/package-lock.json"; exit 69; }
    rm "$folder/package-lock.new"
fi

quint="$folder/node_modules/.bin/quint"
run() { # module, invariant, samples, seed or nothing
    "$quint" run --backend=typescript --main="$1" --invariant="$2" --max-samples="$3" --max-steps="$steps" \
        --verbosity=1 ${4:+--seed="$4"} tests/model/pbft.qnt 2>&1
}

"$quint" typecheck tests/model/pbft.qnt
echo "bounds: 4 validators, 1 of them twins, 1 more after an epoch change, 3 heights, views 0 to 3, 2 values"
echo "$samples runs of $steps steps each, drawn at random"
run sound safe "$samples" | sed 's/^/sound: /'
for situation in neverStored neverCarried; do
    if run sound "$situation" "$samples" > "$folder/last.txt"; then
        echo "model: $situation held in every run, so the runs are too short or too few" >&2
        exit 1
    fi
    echo "reached: the opposite of $situation"
done
steps=$epoch_steps
if run sound neverNewEpoch 1 "$epoch_seed" > "$folder/last.txt"; then
    echo 'model: no validator of the new epoch votes' >&2
    exit 1
fi
echo 'reached: the opposite of neverNewEpoch'
steps=45
if run small_quorum safe 1 "$bug_seed" > "$folder/last.txt"; then
    echo 'model: a quorum of f+1 forks, and the model does not see it' >&2
    exit 1
fi
echo 'a quorum of f+1 forks, and the model sees it'
