// Marks of digests that were refuted.
#include "transfer/tainted.hpp"

#include "base/limits.hpp"

#include <doctest/doctest.h>

using namespace waggle;
using transfer::Taint;
using namespace std::chrono_literals;

namespace {
Digest digest_of(std::size_t n) { return sha256_of(as_bytes(std::to_string(n))); }
}  // namespace

TEST_SUITE("transfer/tainted") {
  TEST_CASE("a mark lasts a day from the last mismatch") {
    transfer::TaintedDigests tainted;
    const TimePoint begin{};
    CHECK(tainted.mark(begin, digest_of(1), Taint::refuted));
    CHECK(tainted.contains(begin + 24h - 1s, digest_of(1)));
    CHECK_FALSE(tainted.contains(begin + 24h, digest_of(1)));
    CHECK_FALSE(tainted.mark(begin + 1h, digest_of(1), Taint::refuted));
    CHECK(tainted.contains(begin + 25h - 1s, digest_of(1)));
    CHECK(tainted.list(begin + 25h).empty());
  }

  TEST_CASE("what was refuted stays so, whatever comes after it") {
    transfer::TaintedDigests tainted;
    const TimePoint begin{};
    tainted.mark(begin, digest_of(1), Taint::convicted);
    CHECK(tainted.contains(begin, digest_of(1)));
    CHECK_FALSE(tainted.is_refuted(begin, digest_of(1)));
    tainted.mark(begin, digest_of(1), Taint::refuted);
    tainted.mark(begin + 1s, digest_of(1), Taint::convicted);
    CHECK(tainted.is_refuted(begin + 1s, digest_of(1)));
    CHECK_FALSE(tainted.is_refuted(begin + 25h, digest_of(1)));
    CHECK_FALSE(tainted.is_refuted(begin, digest_of(2)));
  }

  TEST_CASE("one mark too many: the oldest goes") {
    transfer::TaintedDigests tainted;
    TimePoint now{};
    for (std::size_t i = 0; i <= limits::tainted_digests_max; ++i) {
      tainted.mark(now += 1ms, digest_of(i), Taint::convicted);
    }
    CHECK(tainted.list(now).size() == limits::tainted_digests_max);
    CHECK_FALSE(tainted.contains(now, digest_of(0)));
    CHECK(tainted.contains(now, digest_of(1)));
    CHECK(tainted.contains(now, digest_of(limits::tainted_digests_max)));
  }
}
