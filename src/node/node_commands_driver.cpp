// The core's commands carried out: one small function each; results come back as inputs.
#include "node/node_driver.hpp"
#include "node/state_files_driver.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace waggle::node {
namespace {

constexpr std::uint64_t incarnations_ahead = 1024;

}  // namespace

void NodeDriver::execute(Command command) {
  std::visit([this](auto& item) { run_command(item); }, command);
}

void NodeDriver::run_command(Dial& dial) { tcp_->dial(dial.node, std::move(dial.endpoints)); }

void NodeDriver::run_command(RemoveBlob& remove) { payload_->remove_blob(remove.digest); }

void NodeDriver::run_command(RemovePartial& remove) {
  payload_->remove_partial(remove.digest, remove.origin);
}

void NodeDriver::run_command(PersistTold& persist) {
  const auto written = told_->append(persist.told);
  if (written) return;
  if (const auto more = log_limiter_.admit(now(), LogSite::incarnation)) {
    spdlog::warn("cannot note in data_dir what was announced: {}{}", written.error().message(),
                 suppressed_note(*more));
  }
}

void NodeDriver::run_command(PersistIncarnation& persist) {
  if (persist.incarnation <= persisted_incarnation_) return;
  // Ahead of need: a member that keeps suspecting this node must not cost a write each time.
  const std::uint64_t ahead = persist.incarnation + incarnations_ahead;
  if (save_incarnation(config_.config.node.data_dir, ahead)) {
    persisted_incarnation_ = ahead;
  } else if (const auto more = log_limiter_.admit(now(), LogSite::incarnation)) {
    spdlog::warn("cannot persist incarnation {}{}", persist.incarnation, suppressed_note(*more));
  }
}

void NodeDriver::run_command(ReportClone& report) {
  const gossip::CloneSeen& seen = report.seen;
  const bool is_self = seen.id == identity_->node_id();
  spdlog::error(
      "{} has its identity twice: at {} and at {}{}; on one of them stop waggled, remove "
      "node.data_dir/identity and start it again (a cloned disk image?)",
      is_self ? "this node" : "member " + member_name(seen.id), seen.at.to_string(),
      seen.other.to_string(), seen.other_name.empty() ? "" : " (" + seen.other_name + ")");
}

void NodeDriver::run_command(transfer::SendControl& send) {
  tcp_->send_control(send.session, std::move(send.message));
}

void NodeDriver::run_command(transfer::SendBlock& send) {
  tcp_->send_payload(send.session, {send.tag, send.chunk, send.offset, send.length, send.relayed},
                     payload_->block_source(send));
}

void NodeDriver::run_command(transfer::CloseSession& close) {
  spdlog::debug("closing session {}: {}", to_value(close.session), close.reason);
  tcp_->close(close.session);
}

void NodeDriver::run_command(transfer::CreateBlob& create) {
  payload_->create_blob(create, [this, swarm = create.swarm](auto held) {
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.blob_opened(at, swarm, std::move(held));
    });
    fetches_->blob_opened(swarm);
  });
}

void NodeDriver::run_command(transfer::VerifyChunk& verify) {
  payload_->verify_chunk(
      verify, [this, swarm = verify.swarm, chunk = verify.chunk, source = verify.source](
                  auto verdict, const auto& sha256, const auto& blocks) {
        input([&](TimePoint at, transfer::Exchange& exchange) {
          exchange.chunk_verified(at, swarm, chunk, source, verdict, sha256, blocks);
        });
      });
}

void NodeDriver::run_command(transfer::DropBuffer& drop) { payload_->drop_buffer(drop); }

void NodeDriver::run_command(transfer::StartFetch& start) { fetches_->start(start); }

void NodeDriver::run_command(transfer::CancelFetch& cancel) { fetches_->cancel(cancel.fetch); }

void NodeDriver::run_command(transfer::HashLink& hash) {
  payload_->hash_link(hash, [this, swarm = hash.swarm, chunk = hash.chunk](auto end, auto digest) {
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.link_hashed(at, swarm, chunk, end, digest);
    });
  });
}

void NodeDriver::run_command(transfer::CommitBlob& commit) {
  payload_->commit_blob(commit, [this, swarm = commit.swarm](bool ok) {
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.blob_committed(at, swarm, ok);
    });
  });
}

void NodeDriver::run_command(transfer::CloseBlob& close) {
  payload_->close_blob(close);
  content_->swarm_closed(close.swarm, close.discard);
  // After a discard the same swarm starts over and fetches from the same place.
  if (!close.discard) fetches_->swarm_closed(close.swarm);
}

void NodeDriver::run_command(transfer::LoadMidstates& load) {
  payload_->load_midstates(load.digest, [this, digest = load.digest](auto list) {
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.midstates_loaded(at, digest, std::move(list));
    });
  });
}

void NodeDriver::run_command(transfer::SwarmSize& size) {
  content_->swarm_size(size.swarm, size.size);
}

void NodeDriver::run_command(transfer::ChunkReady& ready) {
  content_->chunk_ready(ready.swarm, ready.chunk, ready.source);
}

void NodeDriver::run_command(transfer::SwarmProven& proven) {
  content_->swarm_proven(proven.swarm);
}

void NodeDriver::run_command(transfer::SwarmCommitted& committed) {
  spdlog::debug("{} is complete", committed.digest.to_string());
}

void NodeDriver::run_command(transfer::SwarmFailed& failed) {
  if (const auto more = log_limiter_.admit(now(), LogSite::failed_download)) {
    const std::string refused = fetches_->failure(failed.swarm).refused;
    spdlog::warn("download {} failed: {}{}", to_value(failed.swarm),
                 refused.empty() ? to_text(failed.error) : refused + " is a refused host",
                 suppressed_note(*more));
  }
  content_->swarm_failed(failed.swarm, failed.error);
}

void NodeDriver::run_command(transfer::SwarmTainted& tainted) {
  if (const auto more = log_limiter_.admit(now(), LogSite::tainted_digest)) {
    spdlog::warn(
        "{} is tainted: its bytes were wrong after some may have been given out; for 24 h nothing "
        "of it is given out before proof. `waggle doctor` names what containerd may keep of it{}",
        tainted.digest.to_string(), suppressed_note(*more));
  }
  content_->swarm_tainted(tainted.swarm);
}

void NodeDriver::run_command(transfer::HostPaused& paused) {
  upstream_->pause(paused.origin, paused.credential, paused.remaining);
}

}  // namespace waggle::node
