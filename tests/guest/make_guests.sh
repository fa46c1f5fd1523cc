#!/bin/bash
# Makes the guests that doppel boots by default and that the tests boot: make_guests.sh DIR [cloud] [full].
#   DIR/cloud/vmlinuz, DIR/full/vmlinuz   kernels, unmodified, from Debian packages (see DIR/*/version)
#   DIR/initramfs.gz                      busybox and the init below
# What is there already is kept, so that a second run needs no network. Every file is put in place by a rename:
# an interrupted run leaves no half of one.
set -euo pipefail

out=$(realpath -m "${1:?usage: make_guests.sh DIR [cloud] [full]}")
shift
kernels=("$@")
mkdir -p "$out"
work=$(mktemp -d "$out/.work.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT

apt_options=()
# As root apt would hand the download to a user who cannot write here.
[ "$(id -u)" = 0 ] && apt_options=(-o APT::Sandbox::User=root)

# The package that the meta package $1 stands for today.
resolve_kernel() {
    { apt-cache depends "$1" 2>/dev/null || true; } | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

refresh_lists() {
    if [ "$(id -u)" = 0 ]; then
        apt-get -qq update
    else
        sudo apt-get -qq update
    fi
}

fetch_kernel() {
    local name=$1 meta=$2 package
    [ -s "$out/$name/vmlinuz" ] && return
    package=$(resolve_kernel "$meta")
    if [ -z "$package" ]; then
        refresh_lists
        package=$(resolve_kernel "$meta")
    fi
    if [ -z "$package" ]; then
        echo "make_guests: apt knows no kernel behind $meta; is this Debian with a working sources.list?" >&2
        return 1
    fi
    echo "fetching guest kernel $package"
    mkdir "$work/$name"
    (
        cd "$work/$name"
        apt-get -qq "${apt_options[@]}" download "$package" ||
            { refresh_lists && apt-get -qq "${apt_options[@]}" download "$package"; }
        dpkg-deb -x ./*.deb tree
        mkdir ready
        cp tree/boot/vmlinuz-* ready/vmlinuz
        echo "$package" >ready/version
    )
    rm -rf "${out:?}/$name"
    mv "$work/$name/ready" "$out/$name"
}

write_init() {
    cat >"$1" <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
read -r cmdline </proc/cmdline
case " $cmdline " in
*" doppel.poweroff "*)
    uname -a
    head -n 1 /proc/meminfo
    echo DOPPEL-USERSPACE-OK
    poweroff -f
    ;;
esac
echo
echo "Linux $(uname -r) with busybox. 'poweroff -f' or leaving the shell switches the machine off."
echo
setsid cttyhack sh
poweroff -f
INIT
    chmod 755 "$1"
}

make_initramfs() {
    # Made again when this script has changed.
    if [ -s "$out/initramfs.gz" ] && [ "$out/initramfs.gz" -nt "${BASH_SOURCE[0]}" ]; then
        return
    fi
    echo "making the initramfs"
    local root=$work/root applet
    mkdir -p "$root"/{bin,dev,proc,sys,tmp,root,etc}
    cp /bin/busybox "$root/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    ln -s bin "$root/sbin"
    write_init "$root/init"
    (
        cd "$root"
        find . -exec touch -h -d @0 {} +
        find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -H newc -o | gzip -9n >"$work/initramfs.gz"
    )
    mv "$work/initramfs.gz" "$out/initramfs.gz"
}

make_initramfs
for kernel in "${kernels[@]}"; do
    case $kernel in
    cloud) fetch_kernel cloud linux-image-cloud-amd64 ;;
    full) fetch_kernel full linux-image-amd64 ;;
    *)
        echo "make_guests: unknown kernel '$kernel' (cloud, full)" >&2
        exit 1
        ;;
    esac
done
