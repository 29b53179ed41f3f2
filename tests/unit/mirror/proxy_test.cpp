// Proxy settings and the exceptions to them.
#include "mirror/proxy.hpp"

#include <doctest/doctest.h>

using namespace waggle::mirror;

namespace {

bool proxied(const ProxySettings& settings, std::string_view url) {
  return settings.find(Url::parse(url)->origin).has_value();
}

}  // namespace

TEST_SUITE("mirror/proxy") {
  TEST_CASE("each scheme has its own proxy, with or without a scheme and a user") {
    const auto settings =
        ProxySettings::parse("http://us%40er:pw@proxy.test:3128", "proxy2.test:8080", "").value();
    const auto https = settings.find(Url::parse("https://r.test")->origin).value();
    CHECK(https.origin.to_string() == "http://proxy.test:3128");
    CHECK(https.authorization == "Basic dXNAZXI6cHc=");
    const auto http = settings.find(Url::parse("http://r.test")->origin).value();
    CHECK(http.origin.to_string() == "http://proxy2.test:8080");
    CHECK(http.authorization.empty());
    CHECK_FALSE(proxied(ProxySettings(), "https://r.test"));
  }

  TEST_CASE("NO_PROXY names hosts, domains, ports and blocks") {
    const auto settings =
        ProxySettings::parse("p:1", "p:1",
                             " r.test, .corp.test ,*.lan,10.0.0.0/8,x.test:5000,2001:db8::/32")
            .value();
    for (const char* url :
         {"https://r.test", "https://a.r.test", "https://a.corp.test", "https://b.lan",
          "http://10.1.1.1", "http://x.test:5000", "http://[2001:db8::1]", "http://127.0.0.1:5000",
          "http://localhost", "https://R.TEST"}) {
      CAPTURE(url);
      CHECK_FALSE(proxied(settings, url));
    }
    for (const char* url : {"https://ar.test", "https://corp.test", "http://11.1.1.1",
                            "http://x.test", "http://[2001:db9::1]"}) {
      CAPTURE(url);
      CHECK(proxied(settings, url));
    }
    CHECK_FALSE(proxied(ProxySettings::parse("p:1", "", "*").value(), "https://r.test"));
  }

  TEST_CASE("a proxy that is no http URL is malformed") {
    for (const char* text : {"https://p:1", "socks5://p:1", "http://", "a b"}) {
      CAPTURE(text);
      CHECK(ProxySettings::parse(text, "", "").error() == MirrorError::malformed);
    }
  }
}
