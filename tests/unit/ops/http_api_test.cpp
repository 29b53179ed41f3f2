// The ops API as a function: paths, trust and error bodies.
#include "ops/http_api.hpp"

#include "ops/metrics.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace waggle;
using namespace waggle::ops;
using Access = ApiRequest::Access;

namespace {

const std::string digest = "sha256:" + std::string(64, 'a');

class Source final : public ApiSource {
 public:
  bool is_ready = true;
  bool drained = false;
  DoctorReport report;
  DoctorReport doctor() override { return report; }
  bool ready() const override { return is_ready; }
  StatusInfo status() override {
    StatusInfo info;
    info.name = "n1";
    info.index_root = 0xab;
    info.members_incompatible = 1;
    info.cluster_version = 2;
    info.protocol_versions = {{"1-2", 4}, {"3-4", 1}};
    info.tainted = {digest};
    info.keys = {{"ab12", "seals", 4, 2, {"n5"}, 1, 3}};
    return info;
  }
  std::vector<MemberInfo> members() override {
    MemberInfo info;
    info.name = "n1";
    info.state = "alive";
    return {info};
  }
  std::vector<BlobInfo> blobs() override { return {}; }
  std::optional<BlobInfo> blob(std::string_view text) override {
    if (text != digest) return std::nullopt;
    return BlobInfo{digest, 10, true, false, 4, {"n1"}};
  }
  std::vector<SwarmInfo> swarms() override { return {}; }
  std::string metrics() override { return "waggle_x 1\n"; }
  void drain() override { drained = true; }
  ReloadResult outcome{ReloadResult::Outcome::invalid, "w.yaml:1: bad", {}};
  bool forced = false;
  ReloadResult reload(bool force) override {
    forced = force;
    return outcome;
  }
};

ApiResponse ask(Source& source, std::string_view method, std::string_view path,
                Access access = Access::read) {
  return handle_api({method, path, "n0nce", access}, source);
}

}  // namespace

TEST_SUITE("ops/http_api") {
  TEST_CASE("health is for everyone, the rest is not") {
    Source source;
    CHECK(ask(source, "GET", "/livez", Access::health).body == "waggle n0nce\n");
    CHECK(ask(source, "GET", "/readyz", Access::health).status == 200);
    source.is_ready = false;
    CHECK(ask(source, "GET", "/readyz", Access::health).status == 503);
    CHECK(ask(source, "GET", "/metrics/prometheus", Access::health).body == "waggle_x 1\n");
    CHECK(ask(source, "GET", "/api/v1/status", Access::health).status == 403);
    CHECK(ask(source, "POST", "/api/v1/drain", Access::read).status == 403);
    CHECK_FALSE(source.drained);
  }

  TEST_CASE("a blob has size, have_bytes and holders, and an unknown one is 404") {
    Source source;
    const auto body = nlohmann::json::parse(ask(source, "GET", "/api/v1/blobs/" + digest).body);
    CHECK(body["size"] == 10);
    CHECK(body["have_bytes"] == 4);
    CHECK(body["complete"] == false);
    CHECK(body["holders"] == nlohmann::json::array({"n1"}));
    CHECK(ask(source, "GET", "/api/v1/blobs/sha256:" + std::string(64, 'b')).status == 404);
    CHECK(ask(source, "GET", "/api/v1/blobs/rubbish").status == 400);
  }

  TEST_CASE("errors carry code, message and hint; the admin socket may drain and reload") {
    Source source;
    const auto wrong = ask(source, "POST", "/api/v1/reload", Access::admin);
    CHECK(wrong.status == 400);
    CHECK(nlohmann::json::parse(wrong.body)["error"]["message"] == "w.yaml:1: bad");
    CHECK(ask(source, "POST", "/api/v1/drain", Access::admin).status == 200);
    CHECK(source.drained);
    CHECK(ask(source, "POST", "/api/v1/warm", Access::admin).status == 501);
    CHECK(ask(source, "PUT", "/api/v1/status", Access::admin).status == 405);
    CHECK(ask(source, "GET", "/nothing").status == 404);
    // Bytes that are no UTF-8 must not break the error body.
    CHECK(nlohmann::json::accept(ask(source, "GET", "/\xff\xfe").body));
  }

  TEST_CASE("a reload that would cut members off is a conflict until it is forced") {
    Source source;
    source.outcome = {ReloadResult::Outcome::would_part, "key ab12 is not accepted by n4", {}};
    const auto refused = ask(source, "POST", "/api/v1/reload", Access::admin);
    CHECK(refused.status == 409);
    const auto error = nlohmann::json::parse(refused.body)["error"];
    CHECK(error["code"] == "KEY_NOT_ACCEPTED");
    CHECK(error["message"] == "key ab12 is not accepted by n4");
    CHECK(error["hint"].get<std::string>().find("--force") != std::string::npos);
    CHECK_FALSE(source.forced);
    source.outcome = {ReloadResult::Outcome::done, "", {"cut off: n4"}};
    const auto forced = handle_api({"POST", "/api/v1/reload", "", Access::admin, true}, source);
    CHECK(source.forced);
    CHECK(nlohmann::json::parse(forced.body)["warnings"] == nlohmann::json::array({"cut off: n4"}));
  }

  TEST_CASE("the doctor's findings, for those who may read") {
    Source source;
    source.report = {{{Finding::Level::warn, "disk", "full", "free some"}}, {"127.0.0.1:1"}, {}};
    const auto body = nlohmann::json::parse(ask(source, "GET", "/api/v1/doctor").body);
    CHECK(body["findings"][0]["level"] == "warn");
    CHECK(body["findings"][0]["check"] == "disk");
    CHECK(body["findings"][0]["to_do"] == "free some");
    CHECK(body["listeners"] == nlohmann::json::array({"127.0.0.1:1"}));
    CHECK(ask(source, "GET", "/api/v1/doctor", Access::health).status == 403);
  }

  TEST_CASE("the root is 16 hex digits") {
    Source source;
    CHECK(nlohmann::json::parse(ask(source, "GET", "/api/v1/status").body)["index"]["root"] ==
          "00000000000000ab");
  }

  TEST_CASE("status shows the mix of protocol versions") {
    Source source;
    const auto status = nlohmann::json::parse(ask(source, "GET", "/api/v1/status").body);
    CHECK(status["protocol"]["cluster"] == 2);
    CHECK(status["protocol"]["members"] == nlohmann::json({{"1-2", 4}, {"3-4", 1}}));
    CHECK(status["members"]["incompatible"] == 1);
  }

  TEST_CASE("status tells of each key who lacks it") {
    Source source;
    const auto keys = nlohmann::json::parse(ask(source, "GET", "/api/v1/status").body)["keys"];
    CHECK(keys[0]["id"] == "ab12");
    CHECK(keys[0]["role"] == "seals");
    CHECK(keys[0]["accepted_by"] == 4);
    CHECK(keys[0]["sealed_with_by"] == 2);
    CHECK(keys[0]["not_accepted_by"] == nlohmann::json::array({"n5"}));
    CHECK(keys[0]["not_accepted_count"] == 1);
    CHECK(keys[0]["sessions"] == 3);
  }

  TEST_CASE("status names tainted digests") {
    Source source;
    const auto status = nlohmann::json::parse(ask(source, "GET", "/api/v1/status").body);
    CHECK(status["tainted"] == nlohmann::json::array({digest}));
  }
}

TEST_SUITE("ops/metrics") {
  TEST_CASE("counters follow what the cores count, and never fall") {
    Metrics metrics;
    CoreLevels levels;
    levels.alive = 5;
    levels.upload_bytes = 100;
    metrics.set_levels(levels);
    metrics.set_levels(levels);
    metrics.add_bytes(Protocol::oci, ByteSource::peer, 7);
    metrics.add_bytes(Protocol::oci, ByteSource::peer, 5);
    const std::string text = metrics.expose();
    CHECK(text.find("waggle_members{state=\"alive\"} 5") != std::string::npos);
    CHECK(text.find("waggle_upload_bytes_total 100") != std::string::npos);
    CHECK(text.find("waggle_bytes_total{protocol=\"oci\",source=\"peer\"} 12") !=
          std::string::npos);
    CHECK(text.find("waggle_bytes_total{protocol=\"oci\",source=\"upstream\"} 0") !=
          std::string::npos);
  }
}
