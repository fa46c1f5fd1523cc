#!/bin/bash
# Makes the 32-bit guests that the tests boot: make_guests32.sh DIR [pae] [i686] [memtest].
#   DIR/pae/vmlinuz, DIR/i686/vmlinuz   kernels, unmodified, from Debian's i386 packages (see DIR/*/version)
#   DIR/initramfs32.gz                  an i386 busybox and make_guests.sh's init
#   DIR/memtest/{x64,ia32}.bin          memtest86+
# The host's own package lists and architectures stay as they are: apt gets a directory of its own. What is there
# already is kept, so that a second run needs no network. Every file is put in place by a rename.
set -euo pipefail

out=$(realpath -m "${1:?usage: make_guests32.sh DIR [pae] [i686] [memtest]}")
shift
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
mkdir -p "$out"
work=$(mktemp -d "$out/.work32.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT

lists=$out/apt-i386
apt_options=(-qq -o APT::Architectures::=amd64 -o APT::Architectures::=i386 -o "Dir::State::lists=$lists/lists"
    -o "Dir::Cache=$lists/cache" -o "APT::Sandbox::User=$(id -un)")

refresh_lists() {
    [ -e "$lists/fresh" ] && return
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
    # One list that fails (a mirror in the middle of its update) leaves enough of the others.
    apt-get "${apt_options[@]}" update || echo "make_guests32: apt could not read all lists" >&2
    touch "$lists/fresh"
}

# fetch PACKAGE: unpacks it into $work/PACKAGE.
fetch() {
    local target=$work/$1
    mkdir "$target"
    (cd "$target" && apt-get "${apt_options[@]}" download "$1" && dpkg-deb -x ./*.deb .) && rm "$target"/*.deb
}

# place NAME: $work/ready becomes DIR/NAME.
place() {
    rm -rf "${out:?}/$1"
    mv "$work/ready" "$out/$1"
}

fetch_kernel() {
    local name=$1 meta=$2 package
    [ -s "$out/$name/vmlinuz" ] && return
    refresh_lists
    package=$(apt-cache "${apt_options[@]}" depends "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    if [ -z "$package" ]; then
        echo "make_guests32: apt knows no kernel behind $meta; is this Debian with a working sources.list?" >&2
        return 1
    fi
    echo "fetching guest kernel $package"
    fetch "$package"
    mkdir "$work/ready"
    cp "$work/$package"/boot/vmlinuz-* "$work/ready/vmlinuz"
    echo "$package" >"$work/ready/version"
    place "$name"
}

fetch_memtest() {
    [ -s "$out/memtest/ia32.bin" ] && return
    refresh_lists
    echo "fetching memtest86+"
    fetch memtest86+
    mkdir "$work/ready"
    cp "$work/memtest86+/boot/memtest86+x64.bin" "$work/ready/x64.bin"
    cp "$work/memtest86+/boot/memtest86+ia32.bin" "$work/ready/ia32.bin"
    place memtest
}

# The init is the one of the 64-bit guests: taken out of make_guests.sh, so that the two cannot differ.
make_initramfs() {
    local script=$here/make_guests.sh busybox root=$work/root applet
    if [ -s "$out/initramfs32.gz" ] && [ "$out/initramfs32.gz" -nt "$script" ]; then
        return
    fi
    refresh_lists
    echo "making the 32-bit initramfs"
    fetch busybox-static:i386
    busybox=$work/busybox-static:i386/bin/busybox
    mkdir -p "$root"/{bin,dev,proc,sys,tmp,root,etc}
    cp "$busybox" "$root/bin/busybox"
    # The same version and configuration for both architectures: the host's own busybox names the applets, where the
    # host cannot run the 32-bit one.
    for applet in $("$busybox" --list 2>/dev/null || /bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    ln -s bin "$root/sbin"
    sed -n "/<<'INIT'\$/,/^INIT\$/p" "$script" | sed '1d;$d' >"$root/init"
    grep -q DOPPEL-USERSPACE-OK "$root/init"
    chmod 755 "$root/init"
    (
        cd "$root"
        find . -exec touch -h -d @0 {} +
        find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -H newc -o | gzip -9n >"$work/initramfs32.gz"
    )
    mv "$work/initramfs32.gz" "$out/initramfs32.gz"
}

for guest in "$@"; do
    case $guest in
    pae)
        make_initramfs
        fetch_kernel pae linux-image-686-pae:i386
        ;;
    i686)
        make_initramfs
        fetch_kernel i686 linux-image-686:i386
        ;;
    memtest) fetch_memtest ;;
    *)
        echo "make_guests32: unknown guest '$guest' (pae, i686, memtest)" >&2
        exit 1
        ;;
    esac
done
