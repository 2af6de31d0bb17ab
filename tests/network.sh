#!/usr/bin/env bash
# Real networks and real disks: two hosts in network namespaces joined by a veth, a firewall between them,
# small and read-only file systems, processes that are killed. Needs root, nftables, iproute2, tcpdump and
# the release binaries. Prints "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
towpath=$PWD/target/release/towpath
tracker=$PWD/target/release/towpath-tracker
work=$(mktemp -d /dev/shm/towpath-network.XXXXXX)
a=twa$$ b=twb$$ # the two hosts: a shares, b fetches
passed=0 failed=0 here=""

cleanup() {
    for ns in $a $b; do ip netns pids "$ns" 2> /dev/null | xargs -r kill -9 2> /dev/null; done
    ip netns del $a 2> /dev/null
    ip netns del $b 2> /dev/null
    mount | awk -v w="$work" 'index($3, w) == 1 {print $3}' | xargs -r -n1 umount
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

on_a() { ip netns exec $a env TOWPATH_DATA="$work/data-a" "$@"; }
on_b() { ip netns exec $b env TOWPATH_DATA="$work/data-b" "$@"; }
die() { printf '   %s: %s\n' "$here" "$*"; return 1; }

# Waits until a command succeeds, at most N seconds.
await() {
    local seconds=$1 end=$((SECONDS + $1))
    shift
    until "$@" 2> /dev/null; do
        [ $SECONDS -lt "$end" ] || { die "not within $seconds s: $*"; return 1; }
        sleep 0.05
    done
}

# Starts `towpath share --json ARGS` on host a; sets $link and $share_pid. Its events go to $work/share.json.
start_share() {
    : > "$work/share.json"
    on_a "$towpath" share --json "$@" > "$work/share.json" 2> "$work/share.err" &
    share_pid=$!
    await 60 grep -q '"sharing"' "$work/share.json" || { cat "$work/share.err"; return 1; }
    link=$(sed -n 's/.*"link":"\([^"]*\)".*/\1/p' "$work/share.json" | head -n 1)
}
stop_share() { kill "$share_pid" 2> /dev/null; wait "$share_pid" 2> /dev/null; true; }
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | tail -n 1; }
random_file() { head -c "$2" /dev/urandom > "$1"; }
# What the seeder has sent to all instances of all receivers.
sent_bytes() {
    grep '"receiver"' "$work/share.json" \
        | sed -n 's/.*"instance":"\([^"]*\)".*"sent_bytes":\([0-9]*\).*/\1 \2/p' \
        | awk '{ last[$1] = $2 } END { for (i in last) sum += last[i]; printf "%d", sum }'
}

run() {
    here=$1
    local began=$SECONDS
    if "$1"; then
        passed=$((passed + 1))
        printf 'ok   %s (%d s)\n' "$1" $((SECONDS - began))
    else
        failed=$((failed + 1))
        printf 'FAIL %s (%d s)\n' "$1" $((SECONDS - began))
        tail -n 5 "$work"/*.err 2> /dev/null | sed 's/^/     /'
    fi
    disown -a
    for ns in $a $b; do ip netns pids $ns | xargs -r kill -9 2> /dev/null; done
    wait 2> /dev/null
    ip netns exec $a nft flush ruleset
    ip netns exec $b nft flush ruleset
    mount | awk -v w="$work/disk" 'index($3, w) == 1 {print $3}' | xargs -r -n1 umount
    rm -rf "$work"/out* "$work"/disk* "$work"/*.json "$work"/*.err "$work"/source*
}

hosts() {
    ip netns add $a && ip netns add $b || return 1
    ip link add ve$$ netns $a type veth peer name ve$$ netns $b
    ip -n $a addr add 10.83.0.1/24 dev ve$$
    ip -n $b addr add 10.83.0.2/24 dev ve$$
    for ns in $a $b; do
        ip -n $ns link set lo up
        ip -n $ns link set ve$$ up
    done
}

a_link_works_on_another_machine() {
    random_file "$work/source" 5000000
    start_share "$work/source" || return 1
    on_b timeout 60 "$towpath" get "$link" -o "$work/out" --json > "$work/get.json" 2> "$work/get.err" \
        || die "get failed" || return 1
    cmp "$work/source" "$work/out" || return 1
    grep '"done"' "$work/get.json" | grep -q '"direct":5000000' || die "not direct"
}

# Host a takes no TCP but at its tracker's port; $1 is what happens to the rest.
close_direct_path() {
    local port
    port=$(sed -n 's|.*"link":"http://[^:]*:\([0-9]*\)/.*|\1|p' "$work/share.json" | head -n 1)
    ip netns exec $a nft -f - <<RULES
table inet towpath {
    chain input {
        type filter hook input priority 0;
        iifname "lo" accept
        tcp dport $port accept
        ct state established accept
        meta l4proto tcp $1
    }
}
RULES
}

fetch_through_relay() {
    on_b timeout 60 "$towpath" get "$link" -o "$work/out" --json > "$work/get.json" 2> "$work/get.err" \
        || die "get failed" || return 1
    cmp "$work/source" "$work/out" || return 1
    grep '"done"' "$work/get.json" | grep -q '"relay":5000000' || die "not by relay" || return 1
    seconds=$(grep '"done"' "$work/get.json" | field seconds)
}

dropped_direct_tcp_ends_in_the_relay_after_five_seconds() {
    random_file "$work/source" 5000000
    start_share "$work/source" || return 1
    close_direct_path drop
    fetch_through_relay || return 1
    grep '"done"' "$work/get.json" | grep -q 'timed out' || die "no reason" || return 1
    awk "BEGIN { exit !($seconds >= 5 && $seconds < 8) }" || die "took $seconds s"
}

refused_direct_tcp_ends_in_the_relay_at_once() {
    random_file "$work/source" 5000000
    start_share "$work/source" || return 1
    close_direct_path 'reject with tcp reset'
    fetch_through_relay || return 1
    grep '"done"' "$work/get.json" | grep -q 'refused' || die "no reason" || return 1
    awk "BEGIN { exit !($seconds < 3) }" || die "took $seconds s"
}

a_full_disk_is_named() {
    random_file "$work/source" 5000000
    start_share "$work/source" || return 1
    mkdir -p "$work/disk" && mount -t tmpfs -o size=2m tmpfs "$work/disk"
    on_b timeout 60 "$towpath" get "$link" -o "$work/disk/out" > "$work/get.json" 2> "$work/get.err"
    [ $? = 6 ] || die "exit code" || return 1
    grep -q 'disk full' "$work/get.err" || die "no sentence" || return 1
    [ ! -e "$work/disk/out" ] || die "something stands at the target"
}

a_disk_that_fills_up_on_the_way_is_named() {
    random_file "$work/source" 20000000
    start_share "$work/source" --limit-up 10MB || return 1
    mkdir -p "$work/disk" && mount -t tmpfs -o size=30m tmpfs "$work/disk"
    on_b timeout 60 "$towpath" get "$link" -o "$work/disk/out" --json > "$work/get.json" 2> "$work/get.err" &
    local pid=$!
    await 20 grep -q '"progress"' "$work/get.json" || return 1
    head -c 29000000 /dev/zero > "$work/disk/other" 2> /dev/null
    wait $pid
    [ $? = 6 ] || die "exit code" || return 1
    grep -q 'disk full' "$work/get.json" || die "no sentence" || return 1
    rm "$work/disk/other"
    on_b timeout 60 "$towpath" get "$link" -o "$work/disk/out" > /dev/null 2> "$work/get.err" \
        || die "does not go on after room was made" || return 1
    cmp "$work/source" "$work/disk/out"
}

a_read_only_target_is_named() {
    random_file "$work/source" 100000
    start_share "$work/source" || return 1
    mkdir -p "$work/disk" && mount -t tmpfs tmpfs "$work/disk" && mount -o remount,ro "$work/disk"
    on_b timeout 60 "$towpath" get "$link" -o "$work/disk/out" > "$work/get.json" 2> "$work/get.err"
    [ $? = 8 ] || die "exit code" || return 1
    grep -q 'read-only' "$work/get.err" || die "no sentence"
}

# Kills the process $1 (a function that starts it and sets $victim) at random moments until get is done.
a_killed_get_goes_on_where_it_stopped() {
    random_file "$work/source" 200000000
    start_share "$work/source" --limit-up 40MB || return 1
    local kills=0 code=1
    while [ $code != 0 ] && [ $kills -lt 60 ]; do
        ip netns exec $b env TOWPATH_DATA="$work/data-b" "$towpath" get "$link" -o "$work/out" \
            > /dev/null 2> "$work/get.err" &
        local pid=$!
        if [ $kills -lt 20 ]; then
            sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
            kill -9 $pid 2> /dev/null
            kills=$((kills + 1))
        fi
        wait $pid 2> /dev/null
        code=$?
    done
    [ $kills = 20 ] || die "killed only $kills times" || return 1
    cmp "$work/source" "$work/out" || return 1
    sleep 1
    local sent
    sent=$(sent_bytes)
    echo "     killed $kills times, the seeder sent $sent of 200000000"
    [ "$sent" -le 210000000 ] || die "the seeder sent $sent bytes" || return 1
    [ "$sent" -ge 200000000 ] || die "the seeder says it sent only $sent bytes"
}

a_killed_seeder_is_found_again() {
    random_file "$work/source" 100000000
    start_share "$work/source" --limit-up 40MB || return 1
    local first=$link
    on_b timeout 120 "$towpath" get "$link" -o "$work/out" --json > "$work/get.json" 2> "$work/get.err" &
    local pid=$!
    for _ in 1 2; do
        sleep 1
        kill -9 $share_pid
        ip netns pids $a | xargs -r kill -9
        wait $share_pid 2> /dev/null
        start_share "$work/source" --limit-up 40MB || return 1
        [ "$link" = "$first" ] || die "the link changed" || return 1
    done
    wait $pid || die "get failed" || return 1
    cmp "$work/source" "$work/out" || return 1
    local received
    received=$(grep '"done"' "$work/get.json" | field received_bytes)
    echo "     received $received of 100000000"
    [ "$received" -le 105000000 ]
}

# Starts a tracker on host a at port $1 (0: any) with the options that follow; sets $url.
start_tracker() {
    local port=${1:-0}
    shift
    : > "$work/tracker.out"
    on_a "$tracker" --listen "10.83.0.1:$port" --data "$work/tracker" "$@" > "$work/tracker.out" 2> "$work/tracker.err" &
    tracker_pid=$!
    await 20 grep -q 'listening on' "$work/tracker.out" || return 1
    url=$(sed -n 's/listening on //p' "$work/tracker.out")
}

a_killed_tracker_is_found_again() {
    random_file "$work/source" 100000000
    start_tracker 0 || return 1
    local port=${url##*:}
    start_share "$work/source" --limit-up 40MB --tracker "$url" || return 1
    on_b timeout 120 "$towpath" get "$link" -o "$work/out" --path relay --json \
        > "$work/get.json" 2> "$work/get.err" &
    local pid=$!
    sleep 1
    kill -9 $tracker_pid
    ip netns pids $a | while read -r p; do
        [ "$(readlink "/proc/$p/exe")" = "$tracker" ] && kill -9 "$p"
    done
    wait $tracker_pid 2> /dev/null
    start_tracker "$port" || return 1
    wait $pid || die "get failed" || return 1
    cmp "$work/source" "$work/out" || return 1
    local received
    received=$(grep '"done"' "$work/get.json" | field received_bytes)
    echo "     received $received of 100000000"
    [ "$received" -le 130000000 ]
}

a_reader_that_stops_stops_the_network() {
    random_file "$work/source" 100000000
    start_share "$work/source" || return 1
    mkfifo "$work/out.fifo"
    on_b "$towpath" get "$link" -o - > "$work/out.fifo" 2> "$work/get.err" &
    exec 7< "$work/out.fifo"
    head -c 1000 <&7 > "$work/out.head" || return 1
    local before=0 now
    for _ in $(seq 50); do
        sleep 0.3
        now=$(sent_bytes)
        [ "$now" = "$before" ] && [ "$now" -gt 0 ] && break
        before=$now
    done
    echo "     the seeder sent $now bytes to a reader that took 1000"
    [ "$now" -le $((16 * 1024 * 1024)) ] || die "sent $now" || return 1
    cat <&7 > "$work/out.tail"
    exec 7<&-
    cat "$work/out.head" "$work/out.tail" | cmp - "$work/source"
}

# spec L5, T15b, K1, K6, K10
a_tracker_learns_nothing_of_a_private_share() {
    local name="the-secret-name-$$"
    random_file "$work/source.$name" 300000
    start_tracker 0 || return 1
    ip netns exec $a tcpdump -q -U -s 0 -i any -w "$work/capture.pcap" "tcp port ${url##*:}" 2> "$work/tcpdump.err" &
    local dump=$!
    await 10 grep -q 'listening on' "$work/tcpdump.err" || return 1
    start_share "$work/source.$name" --tracker "$url" || return 1
    local id secret
    id=$(field id < "$work/share.json")
    secret=${link##*#}
    on_b timeout 60 "$towpath" get "$link" -o "$work/out" --path relay > /dev/null 2> "$work/get.err" || return 1
    on_b timeout 60 "$towpath" get "$link" -o "$work/out2" --path direct > /dev/null 2> "$work/get.err" || return 1
    sleep 0.5
    kill $dump
    wait $dump 2> /dev/null
    [ "$(stat -c %s "$work/capture.pcap")" -gt 300000 ] || die "the capture is empty" || return 1
    local found=0 file
    for file in "$work/capture.pcap" "$work"/tracker/*; do
        python3 - "$file" "$name" "$id" "$secret" <<'PY' || found=1
import base64, sys
data = open(sys.argv[1], 'rb').read()
name, ident, secret = sys.argv[2:]
raw = base64.urlsafe_b64decode(secret + '=')
assert len(raw) == 32
needles = [name.encode(), ident.encode(), bytes.fromhex(ident), secret.encode(), raw, raw.hex().encode()]
sys.exit(any(needle in data for needle in needles))
PY
    done
    [ $found = 0 ] || die "found in $file"
}

https_carries_the_relay_too() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=towpath \
        -addext 'subjectAltName=IP:10.83.0.1' -addext 'basicConstraints=critical,CA:FALSE' \
        -keyout "$work/source.key" -out "$work/source.pem" 2> "$work/openssl.err" || return 1
    random_file "$work/source" 5000000
    start_tracker 0 --tls-cert "$work/source.pem" --tls-key "$work/source.key" || return 1
    case $url in https://*) ;; *) die "not https: $url"; return 1 ;; esac
    SSL_CERT_FILE=$work/source.pem start_share "$work/source" --tracker "$url" || return 1
    SSL_CERT_FILE=$work/source.pem on_b timeout 60 "$towpath" get "$link" -o "$work/out" --path relay \
        > /dev/null 2> "$work/get.err" || die "get failed" || return 1
    cmp "$work/source" "$work/out" || return 1
    on_b timeout 60 "$towpath" get "$link" -o "$work/out2" --timeout 1 > /dev/null 2> "$work/get.err"
    [ $? = 5 ] || die "a certificate that nobody trusts was taken"
}

hosts || { echo "cannot make network namespaces"; echo "0 passed, 1 failed"; exit 1; }
tests=${*:-a_link_works_on_another_machine
    dropped_direct_tcp_ends_in_the_relay_after_five_seconds
    refused_direct_tcp_ends_in_the_relay_at_once
    a_full_disk_is_named
    a_disk_that_fills_up_on_the_way_is_named
    a_read_only_target_is_named
    a_killed_get_goes_on_where_it_stopped
    a_killed_seeder_is_found_again
    a_killed_tracker_is_found_again
    a_reader_that_stops_stops_the_network
    a_tracker_learns_nothing_of_a_private_share
    https_carries_the_relay_too}
for test in $tests; do run "$test"; done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
