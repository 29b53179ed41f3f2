// Routes of the ops API and their JSON.
#include "ops/http_api.hpp"

#include "base/digest.hpp"

#include <nlohmann/json.hpp>

#include <array>

namespace waggle::ops {
namespace {

using Json = nlohmann::ordered_json;
using Access = ApiRequest::Access;

ApiResponse json(const Json& body) { return {200, "application/json", body.dump() + "\n"}; }

ApiResponse fail(unsigned status, std::string_view code, std::string_view message,
                 std::string_view hint) {
  return {status, "application/json", error_body(code, message, hint)};
}

Json to_json(const MemberInfo& member) {
  return {{"id", member.id},
          {"name", member.name},
          {"state", member.state},
          {"addresses", member.addresses},
          {"zone", member.zone},
          {"incarnation", member.incarnation},
          {"draining", member.draining},
          {"version", member.version},
          {"compatible", member.compatible},
          {"keys", member.keys},
          {"self", member.is_self}};
}

Json to_json(const KeyInfo& key) {
  return {{"id", key.id},
          {"role", key.role},
          {"accepted_by", key.accepted_by},
          {"sealed_with_by", key.sealed_with_by},
          {"not_accepted_count", key.not_accepted_count},
          {"not_accepted_by", key.not_accepted_by},
          {"sessions", key.sessions}};
}

Json to_json(const BlobInfo& blob) {
  Json out = {{"digest", blob.digest}};
  out["size"] = blob.size_known ? Json(blob.size) : Json(nullptr);
  out["complete"] = blob.complete;
  out["have_bytes"] = blob.have_bytes;
  out["holders"] = blob.holders;
  return out;
}

Json to_json(const SwarmInfo& swarm) {
  return {{"digest", swarm.digest},
          {"origin", swarm.origin},
          {"size", swarm.size ? Json(*swarm.size) : Json(nullptr)},
          {"have_bytes", swarm.have_bytes},
          {"peers", swarm.peers},
          {"readers", swarm.readers},
          {"proven", swarm.proven}};
}

Json to_json(const CloneInfo& clone) {
  return {{"id", clone.id},
          {"name", clone.name},
          {"address", clone.address},
          {"other_address", clone.other_address},
          {"other_name", clone.other_name},
          {"self", clone.is_self}};
}

template <typename Items>
Json array_of(const Items& items) {
  Json array = Json::array();
  for (const auto& item : items) array.push_back(to_json(item));
  return array;
}

std::string hex(std::uint64_t value) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += digits[(value >> shift) & 15U];
  return text;
}

Json to_json(const StatusInfo& status) {
  return {
      {"version", status.version},
      {"id", status.id},
      {"name", status.name},
      {"zone", status.zone},
      {"cluster", status.cluster},
      {"ready", status.ready},
      {"draining", status.draining},
      {"uptime_seconds", status.uptime_seconds},
      {"members",
       {{"alive", status.members_alive},
        {"suspect", status.members_suspect},
        {"faulty", status.members_faulty},
        {"left", status.members_left},
        {"incompatible", status.members_incompatible}}},
      {"protocol", {{"cluster", status.cluster_version}, {"members", status.protocol_versions}}},
      {"index",
       {{"digests", status.index_digests},
        {"facts", status.index_facts},
        {"root", hex(status.index_root)}}},
      {"state_hash", hex(status.state_hash)},
      {"cache",
       {{"bytes", status.cache_bytes},
        {"max_bytes", status.cache_max_bytes},
        {"disk_free_bytes", status.disk_free_bytes}}},
      {"swarms", status.swarms},
      {"sessions", status.sessions},
      {"tainted", status.tainted},
      {"banned", status.banned},
      {"keys", array_of(status.keys)},
      {"clones", array_of(status.clones)}};
}

Json to_json(const DoctorReport& report) {
  Json findings = Json::array();
  for (const auto& finding : report.findings) {
    findings.push_back({{"check", finding.check},
                        {"level", to_text(finding.level)},
                        {"what", finding.what},
                        {"to_do", finding.to_do}});
  }
  return {{"findings", findings}, {"listeners", report.listeners}, {"mirrors", report.mirrors}};
}

template <typename Items>
ApiResponse list(const char* name, const Items& items) {
  return json({{name, array_of(items)}});
}

ApiResponse blob(std::string_view text, ApiSource& source) {
  if (!Digest::parse(text)) {
    return fail(400, "DIGEST_INVALID", "'" + std::string(text) + "' is not a digest",
                "use sha256:<64 lower-case hex digits>");
  }
  const auto found = source.blob(text);
  if (!found) {
    return fail(404, "BLOB_UNKNOWN",
                "nobody holds " + std::string(text) + " and no part of it is here",
                "pull it through the mirror first");
  }
  return json(to_json(*found));
}

ApiResponse read(const ApiRequest& request, ApiSource& source) {
  constexpr std::string_view blobs = "/api/v1/blobs/";
  if (request.path == "/api/v1/status") return json(to_json(source.status()));
  if (request.path == "/api/v1/doctor") return json(to_json(source.doctor()));
  if (request.path == "/api/v1/members") return list("members", source.members());
  if (request.path == "/api/v1/blobs") return list("blobs", source.blobs());
  if (request.path == "/api/v1/swarms") return list("swarms", source.swarms());
  if (request.path.starts_with(blobs)) return blob(request.path.substr(blobs.size()), source);
  if (request.path == "/api/v1/events") {
    return fail(501, "NOT_IN_THIS_BUILD", "the event stream is not in this build",
                "poll /api/v1/swarms");
  }
  return fail(404, "NOT_FOUND", "no such path: " + std::string(request.path),
              "see api/openapi.yaml");
}

ApiResponse reload(const ApiRequest& request, ApiSource& source) {
  const ReloadResult result = source.reload(request.force);
  switch (result.outcome) {
    case ReloadResult::Outcome::done:
      break;
    case ReloadResult::Outcome::invalid:
      return fail(400, "CONFIG_INVALID", result.problem,
                  "the running configuration stays; mend the file and reload again");
    case ReloadResult::Outcome::would_part:
      return fail(409, "KEY_NOT_ACCEPTED", result.problem,
                  "the running configuration stays; finish the step before on those members, or "
                  "cut them off with `waggle reload --force`");
  }
  return json({{"reloaded", true}, {"warnings", result.warnings}});
}

ApiResponse admin(const ApiRequest& request, ApiSource& source) {
  if (request.path == "/api/v1/drain") {
    source.drain();
    return json({{"draining", true}});
  }
  if (request.path == "/api/v1/reload") {
    return reload(request, source);
  }
  for (const std::string_view later : {"warm", "gc", "verify", "pause"}) {
    if (request.path == "/api/v1/" + std::string(later)) {
      return fail(501, "NOT_IN_THIS_BUILD", std::string(later) + " is not in this build", "");
    }
  }
  return fail(404, "NOT_FOUND", "no such path: " + std::string(request.path),
              "see api/openapi.yaml");
}

}  // namespace

std::string error_body(std::string_view code, std::string_view message, std::string_view hint) {
  const Json body = {{"error", {{"code", code}, {"message", message}, {"hint", hint}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

ApiResponse handle_api(const ApiRequest& request, ApiSource& source) {
  const bool is_read = request.method == "GET" || request.method == "HEAD";
  if (is_read && request.path == "/livez") {
    return {200, "text/plain; charset=utf-8", "waggle " + std::string(request.nonce) + "\n"};
  }
  if (is_read && request.path == "/readyz") {
    const bool ready = source.ready();
    return {ready ? 200U : 503U, "text/plain; charset=utf-8", ready ? "ready\n" : "not ready\n"};
  }
  if (is_read && (request.path == "/metrics" || request.path == "/metrics/prometheus")) {
    return {200, "text/plain; version=0.0.4; charset=utf-8", source.metrics()};
  }
  if (request.access == Access::health) {
    return fail(403, "FORBIDDEN", "this listener serves health and metrics only to this address",
                "ask from loopback or over the unix socket, or set ops.expose: all");
  }
  if (is_read) return read(request, source);
  if (request.method != "POST") {
    return fail(405, "METHOD_NOT_ALLOWED", std::string(request.method) + " is not allowed here",
                "");
  }
  if (request.access != Access::admin) {
    return fail(403, "FORBIDDEN", "changes are allowed over the unix socket only",
                "use `waggle` on the node");
  }
  return admin(request, source);
}

}  // namespace waggle::ops
