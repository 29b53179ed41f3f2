// What the node tells its operator: the ops API's answers and the metrics' levels.
#include "node/node_driver.hpp"

#include <boost/asio/use_awaitable.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include <algorithm>
#include <set>

namespace waggle::node {
namespace {

std::string_view to_text(gossip::MemberState state) {
  switch (state) {
    case gossip::MemberState::alive:
      return "alive";
    case gossip::MemberState::suspect:
      return "suspect";
    case gossip::MemberState::faulty:
      return "faulty";
    case gossip::MemberState::left:
      return "left";
  }
  return "unknown";
}

std::string version_text(const gossip::Member& member) {
  return std::to_string(member.version_min) + "-" + std::to_string(member.version_max);
}

/// A query parameter of a request's target; "" when there is none.
std::string parameter_of(const std::string& target, std::string_view name) {
  const auto url = boost::urls::parse_origin_form(target);
  if (!url) return {};
  const auto parameters = url->params();
  const auto found = parameters.find(name);
  return found == parameters.end() ? std::string() : std::string((*found).value);
}

}  // namespace

// The server owns the exchange for as long as these coroutines run.
// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters)
boost::asio::awaitable<void> NodeDriver::serve_livez(mirror::HttpExchange& exchange) {
  const mirror::HttpRequest& request = exchange.request();
  const std::string nonce = parameter_of(request.target, "nonce");
  ops::ApiResponse answer = ops::handle_api({request.method, "/livez", nonce}, *this);
  mirror::HttpResponseHead head;
  head.status = answer.status;
  head.headers = {{"Content-Type", answer.content_type}, {"X-Waggle-Source", "local"}};
  (void)co_await exchange.respond(std::move(head), std::move(answer.body));
}

boost::asio::awaitable<void> NodeDriver::serve_ops(mirror::HttpExchange& exchange) {
  const mirror::HttpRequest& request = exchange.request();
  std::string path = request.target.substr(0, request.target.find('?'));
  const std::string nonce = parameter_of(request.target, "nonce");
  ops::ApiRequest api{request.method, path, nonce};
  api.force = parameter_of(request.target, "force") == "true";
  if (!request.client) {
    api.access = ops::ApiRequest::Access::admin;
  } else if (request.client->is_loopback() || config_.config.ops.expose == "all") {
    api.access = ops::ApiRequest::Access::read;
  }
  const bool is_examined = path == "/api/v1/doctor" && request.method == "GET" &&
                           api.access != ops::ApiRequest::Access::health;
  if (is_examined) co_await see_doctor();
  ops::ApiResponse answer = ops::handle_api(api, *this);
  mirror::HttpResponseHead head;
  head.status = answer.status;
  head.headers = {{"Content-Type", answer.content_type}, {"X-Waggle-Source", "local"}};
  (void)co_await exchange.respond(std::move(head), std::move(answer.body));
}
// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

DoctorQuestions NodeDriver::doctor_questions() {
  const Config& config = config_.config;
  DoctorQuestions questions;
  for (const auto& warning : config_.warnings)
    questions.facts.config_warnings.push_back(warning.to_string());
  questions.key_files = config.cluster.key_files;
  for (const auto& hint : hints_) {
    const bool is_name = hint.kind == JoinHint::Kind::name;
    if (!is_name && hint.kind != JoinHint::Kind::address) continue;
    questions.hints.push_back({hint.text, is_name ? hint.host : hint.endpoint.address_string(),
                               std::to_string(hint.endpoint.port)});
  }
  for (const auto& member : distributor_->gossip().members()) {
    ops::DoctorFacts::Member fact;
    fact.name = member_name(member.id);
    fact.state = to_text(member.state);
    fact.version = version_text(member);
    fact.is_self = member.is_self;
    if (!member.endpoints.empty()) fact.address = member.endpoints.front().to_string();
    if (member.is_self) {
      questions.own = {member.endpoints.begin(), member.endpoints.end()};
    } else if (!member.endpoints.empty()) {
      questions.members[fact.name] = member.endpoints.front();
    }
    questions.facts.members.push_back(std::move(fact));
  }
  for (const auto& [name, registry] : config.upstream.registries)
    questions.registries.push_back(name);
  if (!config.upstream.registries.contains(config.mirror.default_registry))
    questions.registries.push_back(config.mirror.default_registry);
  questions.facts.rotation = rotation_facts();
  for (const auto& clone : clone_infos()) {
    questions.facts.clones.push_back(
        {clone.name, clone.address, clone.other_address, clone.other_name, clone.is_self});
  }
  questions.facts.ready = ready();
  questions.facts.packet_bytes = config.cluster.packet_bytes;
  questions.facts.data_dir = config.node.data_dir;
  if (const auto disk = store_->disk_stats()) {
    questions.facts.disk_free_bytes = disk->free_bytes;
    questions.facts.min_free_bytes = config.cache.min_free.resolve(disk->total_bytes);
  }
  questions.facts.cache_bytes = distributor_->catalog().bytes();
  questions.facts.cache_max_bytes = cache_quota_bytes_;
  return questions;
}

boost::asio::awaitable<void> NodeDriver::see_doctor() {
  DoctorQuestions questions = doctor_questions();
  const ops::DoctorFacts facts =
      co_await examine(context_.get_executor(), *upstream_, std::move(questions));
  doctor_report_.findings = ops::diagnose(facts);
  doctor_report_.listeners.clear();
  doctor_report_.mirrors.clear();
  for (const auto& endpoint : mirror_server_->endpoints())
    doctor_report_.mirrors.push_back(endpoint.to_string());
  for (const auto& endpoint : ops_server_->endpoints())
    doctor_report_.listeners.push_back(endpoint.to_string());
  doctor_report_.listeners.insert(doctor_report_.listeners.end(), doctor_report_.mirrors.begin(),
                                  doctor_report_.mirrors.end());
}

bool NodeDriver::ready() const { return !draining_ && distributor_->ready(now()); }

ops::StatusInfo NodeDriver::status() {
  const gossip::GossipStats gossip = distributor_->gossip().stats();
  ops::StatusInfo status;
  status.version = WAGGLE_VERSION;
  status.id = identity_->node_id().to_string();
  status.name = config_.config.node.name;
  status.zone = config_.config.node.zone;
  status.cluster = config_.config.cluster.name;
  status.ready = ready();
  status.draining = draining_;
  status.members_alive = gossip.alive;
  status.members_suspect = gossip.suspect;
  status.members_faulty = gossip.faulty;
  status.members_left = gossip.left;
  status.members_incompatible = gossip.incompatible;
  status.cluster_version = distributor_->gossip().cluster_version();
  for (const auto& member : distributor_->gossip().members()) {
    if (gossip::is_live(member.state)) ++status.protocol_versions[version_text(member)];
  }
  status.index_digests = gossip.index_digests;
  status.index_facts = gossip.index_facts;
  status.index_root = distributor_->gossip().index_root();
  status.state_hash = distributor_->gossip().state_hash();
  status.swarms = distributor_->exchange().stats().swarms;
  status.sessions = distributor_->session_count();
  status.cache_bytes = distributor_->catalog().bytes();
  status.cache_max_bytes = cache_quota_bytes_;
  status.disk_free_bytes = disk_free_bytes_;
  for (const Digest& digest : distributor_->exchange().tainted(now())) {
    status.tainted.push_back(digest.to_string());
  }
  for (const NodeId& node : distributor_->exchange().banned(now())) {
    status.banned.push_back(member_name(node));
  }
  status.keys = key_infos();
  status.clones = clone_infos();
  status.uptime_seconds = to_seconds(now().time_since_epoch());
  return status;
}

std::vector<ops::MemberInfo> NodeDriver::members() {
  std::vector<ops::MemberInfo> infos;
  for (const auto& member : distributor_->gossip().members()) {
    ops::MemberInfo info;
    info.id = member.id.to_string();
    info.name = member.name;
    info.zone = member.zone;
    info.state = to_text(member.state);
    info.version = version_text(member);
    info.compatible = member.compatible;
    for (const auto& endpoint : member.endpoints) info.addresses.push_back(endpoint.to_string());
    info.incarnation = member.incarnation;
    info.draining = member.draining;
    for (const KeyName name : {member.keys.seals, member.keys.opens}) {
      if (name != 0) info.keys.push_back(waggle::to_text(name));
    }
    info.is_self = member.is_self;
    infos.push_back(std::move(info));
  }
  return infos;
}

std::string NodeDriver::member_name(const NodeId& id) const {
  const gossip::Member* member = distributor_->gossip().find(id);
  return member == nullptr || member->name.empty() ? id.to_string() : member->name;
}

ops::BlobInfo NodeDriver::blob_info(const Digest& digest) {
  ops::BlobInfo info;
  info.digest = digest.to_string();
  info.size_known = false;
  const TimePoint began = now();
  const auto size = distributor_->gossip().content_size(digest);
  const std::vector<NodeId> holders = distributor_->holders_of(digest);
  metrics_.count_lookup(!holders.empty(), now() - began);
  if (size) {
    info.size = *size;
    info.size_known = true;
  }
  // The fullest copy of this node counts: the complete one, or the partial with most bytes.
  for (const auto& [key, copy] : distributor_->catalog().copies()) {
    if (key.digest != digest) continue;
    info.size = copy.size;
    info.size_known = true;
    info.complete = info.complete || !key.origin;
    info.have_bytes = std::max(info.have_bytes, copy.bytes);
  }
  if (info.complete) info.holders.push_back(config_.config.node.name);
  for (const NodeId& holder : holders) info.holders.push_back(member_name(holder));
  std::sort(info.holders.begin(), info.holders.end());
  return info;
}

std::vector<ops::BlobInfo> NodeDriver::blobs() {
  std::set<Digest> digests;
  for (const auto& [key, copy] : distributor_->catalog().copies()) digests.insert(key.digest);
  std::vector<ops::BlobInfo> infos;
  for (const auto& digest : digests) infos.push_back(blob_info(digest));
  return infos;
}

std::optional<ops::BlobInfo> NodeDriver::blob(std::string_view text) {
  const auto digest = Digest::parse(text);
  if (!digest) return std::nullopt;
  ops::BlobInfo info = blob_info(*digest);
  const auto swarms = distributor_->exchange().swarms();
  const bool in_progress = std::any_of(
      swarms.begin(), swarms.end(), [&](const auto& swarm) { return swarm.key.digest == *digest; });
  if (info.holders.empty() && info.have_bytes == 0 && !in_progress) return std::nullopt;
  return info;
}

std::vector<ops::SwarmInfo> NodeDriver::swarms() {
  std::vector<ops::SwarmInfo> infos;
  for (const auto& swarm : distributor_->exchange().swarms()) {
    infos.push_back({swarm.key.digest.to_string(), swarm.key.origin, swarm.size, swarm.have_bytes,
                     swarm.peers, swarm.readers, swarm.proven});
  }
  return infos;
}

std::string NodeDriver::metrics() {
  const gossip::GossipStats gossip = distributor_->gossip().stats();
  const transfer::ExchangeStats exchange = distributor_->exchange().stats();
  ops::CoreLevels levels;
  levels.alive = gossip.alive;
  levels.cloned_identities = distributor_->gossip().clones(now()).size();
  levels.suspect = gossip.suspect;
  levels.faulty = gossip.faulty;
  levels.left = gossip.left;
  levels.index_digests = gossip.index_digests;
  levels.index_facts = gossip.index_facts;
  levels.announcement_lag = gossip.announcement_lag;
  levels.gossip_tx_bytes = gossip.tx_bytes;
  levels.gossip_rx_bytes = gossip.rx_bytes;
  levels.gossip_tx_packets = gossip.tx_packets;
  levels.gossip_rx_packets = gossip.rx_packets;
  levels.dropped_unknown_key = gossip.dropped_unknown_key;
  levels.dropped_unauthenticated = gossip.dropped_unauthenticated;
  levels.dropped_replay = gossip.dropped_replay;
  levels.dropped_malformed = gossip.dropped_malformed;
  levels.dropped_over_rate = gossip.dropped_over_rate;
  levels.dropped_unknown_type = gossip.dropped_unknown_type;
  levels.dropped_other = gossip.dropped_other;
  levels.swarms = exchange.swarms;
  levels.upload_bytes = exchange.upload_bytes;
  levels.relayed_bytes = exchange.relayed_bytes;
  levels.relay_repairs = exchange.relay_repairs;
  levels.relay_failures = exchange.relay_failures;
  levels.claims_granted = exchange.claims.granted;
  levels.claims_waited = exchange.claims.waited;
  levels.claims_takeover = exchange.claims.takeover;
  levels.claims_bypass = exchange.bypasses;
  levels.verify_failures_peer = exchange.verify_failures_peer;
  levels.peer_bans = exchange.bans;
  levels.cache_bytes = distributor_->catalog().bytes();
  levels.evictions_quota = distributor_->eviction_count();
  metrics_.set_levels(levels);
  return metrics_.expose();
}

}  // namespace waggle::node
