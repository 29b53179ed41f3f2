"""No local process can make waggled ask an address or a host that its operator did not allow."""

import hashlib
import json
import os
import signal
import urllib.parse

from harness.cases import case, expect, expect_equal
from harness.clients import http_get
from harness.namespace import Evil, LyingDns, enter_private_network
from harness.process import wait_for
from harness.store import Store

METADATA, GOOD, OTHER, INNER = "169.254.169.254", "198.51.100.7", "198.51.100.8", "127.0.0.66"
DIGEST = "sha256:" + hashlib.sha256(b"wanted").hexdigest()


class _NoRegistry:
    endpoint = "http://127.0.0.1:9"


def private_node(context, config=None, hosts=None):
    """A node and an evil server in a network where refused addresses really answer."""
    enter_private_network(context.scratch, [METADATA + "/32", GOOD + "/32", OTHER + "/32", "fe80::66/64"], hosts)
    changes = {"upstream": {"connect_timeout": "500ms"}}
    for section, keys in (config or {}).items():
        changes[section] = {**changes.get(section, {}), **keys}
    return context.cluster(_NoRegistry, 1, changes).nodes[0], Evil(context.scratch)


def by_url(node, url, **headers):
    return http_get(f"{node.mirror}/blobs/{url}", {"Range": "bytes=0-9", **headers})


def by_registry(node, registry):
    return http_get(f"{node.mirror}/v2/team/app/blobs/{DIGEST}?ns={urllib.parse.quote(registry, safe='')}")


def expect_refused(answer, status, what, host, key):
    """A 4xx that says what was refused, and which key of the configuration allows it."""
    expect_equal(answer.status, status, f"{what}: {answer.body[:300]!r}")
    document = json.loads(answer.body)
    error = document["error"] if "error" in document else document["errors"][0]
    text = error["message"] + " " + error.get("hint", error.get("detail", ""))
    expect(host in text, f"{what}: {host!r} is not named in {text!r}")
    expect(key in text, f"{what}: {key!r} is not named in {text!r}")


def expect_no_hits(evil, what):
    """None on an address that is refused; port 80 of the allowed one is the same server's."""
    expect_equal([hit for hit in evil.hits() if GOOD not in hit], [], what)
    evil.prove_it_counts(INNER)


@case("loopback, link-local and metadata addresses are refused in ns= and in /blobs/, however they are written")
def _(context):
    node, evil = private_node(context)
    for host in (INNER, "127.0.0.1", METADATA, "0.0.0.0", "[::1]", "[::ffff:127.0.0.66]", "localhost", "0x7f.1",
                 "2130706433", "127.1", "[64:ff9b::a9fe:a9fe]"):
        for path in ("/latest/meta-data", "/blobs/" + DIGEST):
            answer = by_url(node, f"http://{host}{path}")
            expect_refused(answer, 403, f"/blobs/ {host}", host.strip("[]").replace("::ffff:", ""),
                           "upstream.allow_local")
        answer = by_registry(node, f"{host}:80")
        expect_refused(answer, 404, f"ns= {host}", host.strip("[]").replace("::ffff:", ""), "upstream.allow_local")
    expect_no_hits(evil, "connections")


@case("a name that resolves to a refused address is refused, and never connected to when it changes its mind")
def _(context):
    hosts = {"evil.test": INNER, "meta.test": METADATA, "both.test": [INNER, GOOD]}
    node, evil = private_node(context, hosts=hosts)
    for name in ("evil.test", "meta.test"):
        expect_refused(by_url(node, f"http://{name}/x"), 403, name, name, "upstream.allow_local")
        expect_refused(by_registry(node, f"{name}:80"), 404, name, name, "upstream.allow_local")
    content = os.urandom(1000)
    good = Store(context.scratch, GOOD, 8080)
    path = good.add("/x", content)
    query = "?sig=good"
    # Of two addresses only the allowed one is tried.
    expect_equal(by_url(node, f"http://both.test:8080{path}{query}").body, content[:10], "both.test")
    # Rebinding: what is checked is what is connected to, whatever the next lookup says.
    dns = LyingDns(context.scratch, {"rebind.test": [GOOD, INNER, GOOD, METADATA]})
    expect_equal(by_url(node, f"http://rebind.test:8080{path}{query}").status, 206, "DNS's first word is allowed")
    good.stop()
    later = [by_url(node, f"http://rebind.test{path}").status for _ in range(3)]
    expect_equal(dns.queries, [GOOD, INNER, GOOD, METADATA], "what DNS said")
    expect_equal([later[0], later[2]], [403, 403], "refused addresses")
    expect_no_hits(evil, "connections")


@case("a redirect to a refused address is not followed, by /v2 nor by /blobs/")
def _(context):
    config = {"upstream": {"registries": {"good.test": {"endpoint": f"http://{GOOD}:8080"}}}}
    node, evil = private_node(context, config, hosts={"evil.test": INNER, "good.test": GOOD})
    good = Store(context.scratch, GOOD, 8080)
    for location, host in ((f"http://{METADATA}/latest/meta-data", METADATA), ("http://localhost/x", "localhost"),
                           ("http://evil.test/x", "evil.test"), ("http://[::1]/x", "::1"),
                           (f"//{INNER}/x", INNER)):
        good.redirect_to = location
        expect_refused(by_url(node, f"http://{GOOD}:8080/blobs/{DIGEST}"), 403, f"/blobs/ to {location}", host,
                       "upstream.allow_local")
        expect_refused(by_url(node, f"http://{GOOD}:8080/no-digest"), 403, f"/blobs/ to {location}", host,
                       "upstream.allow_local")
        expect_refused(by_registry(node, "good.test"), 404, f"/v2 to {location}", host, "upstream.allow_local")
    expect(good.hits() >= 15, f"the good host was asked {good.hits()} times")
    expect_no_hits(evil, "connections")


@case("upstream.allow holds for ns=, for /blobs/ and for what a redirect names")
def _(context):
    config = {"upstream": {"allow": ["good.test", GOOD],
                           "registries": {"good.test": {"endpoint": f"http://{GOOD}:8080"}}}}
    node, evil = private_node(context, config, hosts={"good.test": GOOD, "other.test": OTHER})
    good, other = Store(context.scratch, GOOD, 8080), Store(context.scratch, OTHER, 8080)
    content = os.urandom(500)
    name = "/blobs/sha256:" + hashlib.sha256(content).hexdigest()
    for store in (good, other):
        store.add(name, content)
    expect_refused(by_url(node, other.url(name)), 403, "/blobs/", OTHER, "upstream.allow")
    expect_refused(by_url(node, f"http://other.test:8080{name}"), 403, "/blobs/", "other.test", "upstream.allow")
    expect_refused(by_registry(node, "other.test"), 404, "ns=", "other.test", "upstream.allow")
    good.redirect_to = other.url(name)
    expect_refused(by_url(node, good.url(name)), 403, "a redirect of /blobs/", OTHER, "upstream.allow")
    expect_refused(by_registry(node, "good.test"), 404, "a redirect of /v2", OTHER, "upstream.allow")
    expect_equal(other.hits(), 0, "requests at the host that is not allowed")
    # The operator's word, and a reload, are all it takes.
    with open(node.config_path) as file:
        text = file.read().replace('"good.test", ', f'"good.test", "{OTHER}", ')
    with open(node.config_path, "w") as file:
        file.write(text)
    node.process.signal(signal.SIGHUP)
    wait_for(lambda: by_url(node, good.url(name)).body == content[:10], 10, "the redirect is followed now")
    expect_no_hits(evil, "connections")


@case("a token realm on a refused address, or on a host that is not allowed, is never asked")
def _(context):
    config = {"upstream": {"allow": ["good.test"],
                           "registries": {"good.test": {"endpoint": f"http://{GOOD}:8080", "username": "u"}}}}
    node, evil = private_node(context, config, hosts={"good.test": GOOD})
    good, other = Store(context.scratch, GOOD, 8080), Store(context.scratch, OTHER, 8080)
    for realm in (f"http://{METADATA}/token", "http://localhost/token", f"http://{OTHER}:8080/token"):
        good.challenge = f'Bearer realm="{realm}",service="s"'
        expect_equal(by_registry(node, "good.test").status, 404, realm)
    expect(good.hits() >= 3, "the registry was asked")
    expect_equal(other.hits(), 0, "requests at the host that is not allowed")
    expect_no_hits(evil, "connections")
