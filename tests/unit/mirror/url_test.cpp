// URLs, origins and host[:port].
#include "mirror/url.hpp"

#include <doctest/doctest.h>

using namespace waggle::mirror;

TEST_SUITE("mirror/url") {
  TEST_CASE("origins carry their port, Host headers only another than the default") {
    const auto url = Url::parse("HTTPS://Registry-1.Docker.IO/v2/a?b=c%20d#frag").value();
    CHECK(url.origin.to_string() == "https://registry-1.docker.io:443");
    CHECK(url.origin.host_header() == "registry-1.docker.io");
    CHECK(url.target == "/v2/a?b=c%20d");
    CHECK(Url::parse("http://127.0.0.1:5000")->origin.host_header() == "127.0.0.1:5000");
    CHECK(Url::parse("http://127.0.0.1:5000")->target == "/");
    CHECK(Url::parse("http://[::1]:80/x")->origin.host_header() == "[::1]");
    CHECK(Url::parse("http://[::1]:80/x")->origin.host == "::1");
    CHECK(Url::parse("http://h?q=1")->target == "/?q=1");
    CHECK(Url::parse("http://us%40er:p%3Aw@h/")->userinfo == "us@er:p:w");
    CHECK(Url::parse("http://u:p@h/x")->to_string() == "http://h/x");
  }

  TEST_CASE("other schemes and relative references are no URLs here") {
    for (const char* text :
         {"", "ftp://h/", "//h/x", "/x", "h:5000", "https://", "https:///x", "http://h:0/",
          "http://h:65536/", "http://h/a b", "file:///etc/passwd"}) {
      CAPTURE(text);
      CHECK(Url::parse(text).error() == MirrorError::malformed);
    }
  }

  TEST_CASE("a host is a plain name or an address: escapes hide nothing") {
    for (const char* text : {"http://a%0d%0aX-Evil:%201/", "http://a%2fb/", "http://a%40b/x",
                             "https://r%00.test/", "http://a;b/", "http://[v1.x]/"}) {
      CAPTURE(text);
      CHECK(Url::parse(text).has_error());
    }
    CHECK(Url::parse("http://%72.test/")->origin.host == "r.test");
    const auto base = Url::parse("http://r.test/").value();
    CHECK(base.resolve("//a%0d%0ab/").has_error());
  }

  TEST_CASE("Location headers are resolved against the URL they came from") {
    const auto base = Url::parse("https://r.test:5000/v2/a/blobs/x?q=1").value();
    CHECK(base.resolve("https://cdn.test/y?sig=%2F")->to_string() == "https://cdn.test/y?sig=%2F");
    CHECK(base.resolve("/y")->to_string() == "https://r.test:5000/y");
    CHECK(base.resolve("y")->to_string() == "https://r.test:5000/v2/a/blobs/y");
    CHECK(base.resolve("//cdn.test/z")->to_string() == "https://cdn.test/z");
    CHECK(base.resolve("ftp://cdn.test/z").has_error());
    CHECK(base.resolve("http://[bad").has_error());
  }

  TEST_CASE("host[:port]") {
    CHECK(HostPort::parse("Docker.IO").value() == HostPort{"docker.io", std::nullopt});
    CHECK(HostPort::parse("r.test:5000").value() == HostPort{"r.test", 5000});
    CHECK(HostPort::parse("[::1]:5000").value() == HostPort{"::1", 5000});
    for (const char* text :
         {"", "a/b", "u@h", "h:0", "h:x", "h:70000", "a b", ":5000", "a%20b", "a;b", "::1"}) {
      CAPTURE(text);
      CHECK(HostPort::parse(text).has_error());
    }
  }

  TEST_CASE("components are encoded down to the unreserved characters") {
    CHECK(encode_component("repository:a/b:pull,push ~-._") ==
          "repository%3Aa%2Fb%3Apull%2Cpush%20~-._");
  }
}
