"""Table of hostile URLs, with the reason why the SSRF guard rejects each of them."""

from typing import NamedTuple


class Hostile(NamedTuple):
    """A URL, and the reason of its rejection; ``""`` if it is not a valid URL."""

    url: str
    why: str
    about: str


LOOPBACK, PRIVATE = "a loopback address", "a private address"
METADATA, LINK_LOCAL = "a cloud's metadata address", "a link-local address"
RESERVED, UNSPECIFIED = "a reserved address", "an unspecified address"

HOSTILE = [
    # The ranges
    Hostile("http://127.0.0.1/", LOOPBACK, "this machine"),
    Hostile("http://127.255.255.254/", LOOPBACK, "all of 127.0.0.0/8 is this machine"),
    Hostile("https://127.0.0.1/", LOOPBACK, "TLS makes no difference"),
    Hostile("http://[::1]/", LOOPBACK, "this machine, IPv6"),
    Hostile("http://0.0.0.0/", UNSPECIFIED, "Linux connects it to this machine"),
    Hostile("http://0.1.2.3/", UNSPECIFIED, "this network"),
    Hostile("http://[::]/", UNSPECIFIED, "the same, IPv6"),
    Hostile("http://10.0.0.1/", PRIVATE, "a private network"),
    Hostile("http://172.16.0.1/", PRIVATE, "the lowest of 172.16.0.0/12"),
    Hostile("http://172.31.255.255/", PRIVATE, "the highest of 172.16.0.0/12"),
    Hostile("http://192.168.1.1/", PRIVATE, "most routers at home"),
    Hostile("http://[fd12:3456::1]/", PRIVATE, "unique local, IPv6"),
    Hostile("http://[fec0::1]/", PRIVATE, "site-local, IPv6, of old"),
    Hostile("http://100.64.0.1/", "carrier-grade NAT", "the provider's own network"),
    Hostile("http://169.254.1.1/", LINK_LOCAL, "the same cable"),
    Hostile("http://[fe80::1]/", LINK_LOCAL, "the same cable, IPv6"),
    Hostile("http://224.0.0.1/", "a multicast address", "many hosts at once"),
    Hostile("http://[ff02::1]/", "a multicast address", "many hosts at once, IPv6"),
    Hostile("http://192.0.0.8/", RESERVED, "protocol assignments"),
    Hostile("http://192.0.2.1/", RESERVED, "documentation"),
    Hostile("http://198.18.0.1/", RESERVED, "benchmarks; some VPNs"),
    Hostile("http://198.51.100.1/", RESERVED, "documentation"),
    Hostile("http://203.0.113.1/", RESERVED, "documentation"),
    Hostile("http://240.0.0.1/", RESERVED, "never given out"),
    Hostile("http://255.255.255.255/", RESERVED, "broadcast"),
    Hostile("http://[100::1]/", RESERVED, "discarded"),
    Hostile("http://[2001:db8::1]/", RESERVED, "documentation, IPv6"),
    Hostile("http://[3fff::1]/", RESERVED, "documentation, IPv6"),
    Hostile("http://[4000::1]/", RESERVED, "no unicast range yet"),
    # Addresses at which clouds publish credentials
    Hostile("http://169.254.169.254/latest/meta-data/", METADATA, "AWS, Google, Azure, and others"),
    Hostile("http://169.254.170.2/v2/credentials", METADATA, "AWS, containers"),
    Hostile("http://100.100.100.200/latest/meta-data/", METADATA, "Alibaba"),
    Hostile("http://168.63.129.16/", METADATA, "Azure, in a public range"),
    Hostile("http://192.0.0.192/", METADATA, "Oracle"),
    Hostile("http://[fd00:ec2::254]/", METADATA, "AWS, IPv6"),
    Hostile("http://[fd20:ce::254]/", METADATA, "Google, IPv6"),
    # Other notations of an IPv4 address
    Hostile("http://2130706433/", LOOPBACK, "one decimal number"),
    Hostile("http://017700000001/", LOOPBACK, "one octal number"),
    Hostile("http://0x7f000001/", LOOPBACK, "one hexadecimal number"),
    Hostile("http://0X7F000001/", LOOPBACK, "the same in capitals"),
    Hostile("http://127.1/", LOOPBACK, "two parts"),
    Hostile("http://127.0.1/", LOOPBACK, "three parts"),
    Hostile("http://0x7f.1/", LOOPBACK, "hexadecimal and short"),
    Hostile("http://0177.1/", LOOPBACK, "octal and short"),
    Hostile("http://0x7f.0.0.1/", LOOPBACK, "a hexadecimal part"),
    Hostile("http://0177.0.0.1/", "", "an octal part: httpx2 takes it for no address"),
    Hostile("http://0300.0250.0001.0001/", "", "all octal"),
    Hostile("http://127.000.000.001/", "", "zeros in front, which some read as octal"),
    Hostile("http://0/", UNSPECIFIED, "zero"),
    Hostile("http://2852039166/", METADATA, "169.254.169.254 as one number"),
    Hostile("http://0xa9fea9fe/", METADATA, "the same, hexadecimal"),
    Hostile("http://169.16689662/", METADATA, "the same, short"),
    Hostile("http://127.0.0.1./", LOOPBACK, "a dot at the end"),
    Hostile("http://2130706433./", LOOPBACK, "a number with a dot at the end"),
    Hostile("http://256.0.0.1/", "", "too large a part"),
    # IPv4 within IPv6
    Hostile("http://[::ffff:127.0.0.1]/", LOOPBACK, "IPv4-mapped"),
    Hostile("http://[::ffff:7f00:1]/", LOOPBACK, "IPv4-mapped, hexadecimal"),
    Hostile("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", METADATA, "IPv4-mapped, in full"),
    Hostile("http://[::127.0.0.1]/", RESERVED, "IPv4-compatible"),
    Hostile("http://[::ffff:0:127.0.0.1]/", RESERVED, "IPv4-translated"),
    Hostile("http://[64:ff9b::7f00:1]/", LOOPBACK, "NAT64"),
    Hostile("http://[64:ff9b::169.254.169.254]/", METADATA, "NAT64"),
    Hostile("http://[64:ff9b:1::1]/", PRIVATE, "a network's own NAT64"),
    Hostile("http://[2002:7f00:1::]/", LOOPBACK, "6to4"),
    Hostile("http://[2002:a9fe:a9fe::1]/", METADATA, "6to4"),
    Hostile("http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", RESERVED, "Teredo"),
    # IPv6 otherwise
    Hostile("http://[0000:0000:0000:0000:0000:0000:0000:0001]/", LOOPBACK, "in full"),
    Hostile("http://[fe80::1%25eth0]/", "", "a zone"),
    Hostile("http://[::1%25lo]/", "", "a zone on loopback"),
    Hostile("http://[::1%lo]/", "", "a zone, not escaped"),
    # Names
    Hostile("http://localhost/", LOOPBACK, "this machine's name"),
    Hostile("http://LOCALHOST./", LOOPBACK, "in capitals, with a dot at the end"),
    Hostile("http://intranet.example/", PRIVATE, "a name inside"),
    Hostile("http://127.0.0.1.nip.example/", LOOPBACK, "a public name with a private address"),
    Hostile("http://mixed.example/", PRIVATE, "one address of two is private"),
    Hostile("http://mixed-six.example/", PRIVATE, "a public IPv4 and a private IPv6 address"),
    Hostile("http://metadata.google.internal/", METADATA, "Google's name for it"),
    # URLs that appear to have another host
    Hostile("http://public.example@127.0.0.1/", LOOPBACK, "the host stands after the @"),
    Hostile("http://public.example:80@127.0.0.1:80/", LOOPBACK, "a port as a password"),
    Hostile("http://public.example%40127.0.0.1/", "", "an escaped @"),
    Hostile("http://a@b@127.0.0.1/", LOOPBACK, "two @"),
    Hostile("http://127.0.0.1#@public.example/", LOOPBACK, "a fragment with an @"),
    Hostile("http://127.0.0.1?@public.example/", LOOPBACK, "a query with an @"),
    Hostile("http://127.0.0.1\\@intranet.example/", PRIVATE, "a backslash: browsers differ"),
    Hostile("http://%31%32%37.0.0.1/", "", "escaped digits"),
    Hostile("http://１２７.0.0.1/", "", "fullwidth digits"),
    Hostile("http://①②⑦.⓪.⓪.①/", "", "digits in circles"),
    Hostile("http://127。0。0。1/", LOOPBACK, "ideographic full stops"),
    Hostile("http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "", "letters in circles"),
    Hostile("http://127.0.0.1\t/", "", "a tab"),
    Hostile("http://127.0.0.1\r\nHost: public.example/", "", "a line break"),
    Hostile("http://127.0.0.1%00.public.example/", "", "an escaped NUL"),
    Hostile("http://127.0.0.1%2f.public.example/", "", "an escaped slash"),
    # Other schemes
    Hostile("file:///etc/passwd", "", "a file"),
    Hostile("gopher://127.0.0.1:6379/_INFO", "", "gopher"),
    Hostile("ftp://127.0.0.1/", "", "ftp"),
    Hostile("ws://127.0.0.1/", "", "a WebSocket"),
    Hostile("//127.0.0.1/", "", "no scheme"),
]
