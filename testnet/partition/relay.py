#!/usr/bin/env python3
"""The links between namespaces where the kernel has no netem: a router of IP packets with delay and loss.

    relay.py --delay-ms 100 --loss 0.01 --link asyu1=10.213.0.11 --link asyu2=10.213.0.12 ...

Makes a TUN device for each link, says `ready`, and hands every packet that comes from one to the one that has its
destination, `delay` later, or never with probability `loss`, whatever is in it. So TCP, QUIC and discovery lose packets as they do
on a wire, and recover by their own means; nothing is modelled. The devices may be moved into namespaces afterwards. Ends with
its standard input, and says what it counted. Needs root and /dev/net/tun; the standard library only.
"""
import argparse
import collections
import fcntl
import ipaddress
import json
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# Bytes on the way at most: the delay's worth of all links at full rate, and more.
MOST_BYTES = 64 << 20


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, required=True)
    parser.add_argument("--loss", type=float, required=True)
    parser.add_argument("--link", action="append", required=True)
    args = parser.parse_args()
    links = [link.split("=") for link in args.link]
    by_address = {ipaddress.ip_address(address).packed: tun(name) for name, address in links}
    fds = list(by_address.values())
    delay, chance = args.delay_ms / 1000, random.Random(8025)
    waiting, held = collections.deque(), 0
    counts = dict(passed=0, lost=0, bytes=0, no_room=0, elsewhere=0)
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, to, packet = waiting.popleft()
            held -= len(packet)
            try:
                os.write(to, packet)
                counts["passed"] += 1
                counts["bytes"] += len(packet)
            except OSError:
                counts["no_room"] += 1
        wait = max(0, waiting[0][0] - now) if waiting else None
        readable, _, _ = select.select([sys.stdin, *fds], [], [], wait)
        for source in readable:
            if source is sys.stdin:
                if not os.read(0, 4096):
                    print(json.dumps(counts), flush=True)
                    return
                continue
            # A few at a time: what is due must not wait for what comes.
            for _ in range(64):
                try:
                    packet = os.read(source, 65536)
                except OSError:
                    break
                to = by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if to is None:
                    counts["elsewhere"] += 1
                elif chance.random() < args.loss:
                    counts["lost"] += 1
                elif held + len(packet) > MOST_BYTES:
                    counts["no_room"] += 1
                else:
                    held += len(packet)
                    waiting.append((time.monotonic() + delay, to, packet))


main()
