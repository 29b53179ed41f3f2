// A simulated node's clients: they read, wait, hang up.
#include "sim/node.hpp"
#include "sim/simulator.hpp"

#include <algorithm>

namespace waggle::sim {

using namespace std::chrono_literals;

void Node::pull(const Blob& blob, const std::string& origin, const ReadPlan& plan) {
  sim_.trace().add(sim_.now(), index_, "pull", blob.size);
  Pull pull;
  pull.blob = blob;
  pull.origin = origin;
  pull.plan = plan;
  pull.plan.end = std::min(plan.end, blob.size);
  pull.position = plan.begin;
  pull.started = pull.moved = sim_.now();
  pull.reader = ReaderId{next_reader_++};
  if (core_->catalog().find_blob(blob.digest) != nullptr) {
    pull.first_chunk = pull.finished = sim_.now();
  } else {
    pull.swarm = core_->open(now(), {blob.digest, origin});
    expect(sim_, pull.swarm.has_value(), "there is room for a swarm");
    swarms_.try_emplace(*pull.swarm, transfer::SwarmKey{blob.digest, origin});
    core_->exchange().add_reader(now(), *pull.swarm, pull.reader, plan.begin);
    core_->settle(now());
    if (core_->exchange().is_proven(*pull.swarm)) {
      pull.first_chunk = pull.finished = sim_.now();
      end_reader(pull, 1ms);
    }
  }
  pulls_.push_back(pull);
  if (!pull.finished) read_on(*pull.swarm);
  pump();
  if (!pull.finished && plan.patience) {
    sim_.at_node(index_, *plan.patience,
                 [reader = pull.reader](Node& node) { node.hang_up(reader); });
  }
}

void Node::hang_up(ReaderId reader) {
  for (Pull& pull : pulls_) {
    if (pull.reader != reader || pull.is_over()) continue;
    sim_.trace().add(sim_.now(), index_, "hang up", pull.position);
    pull.hung_up = true;
    end_reader(pull, 0ns);
  }
}

void Node::end_reader(const Pull& pull, Duration after) {
  later(after, [this, swarm = *pull.swarm, reader = pull.reader](TimePoint now) {
    core_->exchange().remove_reader(now, swarm, reader);
  });
}

std::size_t Node::buffer_count(SwarmId swarm) const {
  return static_cast<std::size_t>(
      std::count_if(buffers_.begin(), buffers_.end(),
                    [&](const auto& entry) { return std::get<0>(entry.first) == swarm; }));
}

bool Node::pulls_done() const {
  return std::all_of(pulls_.begin(), pulls_.end(), [](const Pull& pull) { return pull.is_over(); });
}

void Node::run(const transfer::ChunkReady& ready) {
  auto& chunks = ready_[ready.swarm];
  expect(sim_, chunks.insert(ready.chunk).second, "a chunk is ready once");
  read_on(ready.swarm);
}

// Readers take what is there from their position on.
void Node::read_on(SwarmId swarm) {
  const auto chunks = ready_.find(swarm);
  if (chunks == ready_.end()) return;
  for (Pull& pull : pulls_) {
    if (pull.swarm != swarm || pull.is_over()) continue;
    const BlobLayout layout = pull.blob.layout();
    std::uint64_t position = pull.position;
    while (position < pull.plan.end) {
      const ChunkIndex chunk = layout.chunk_at(position);
      if (!chunks->second.contains(chunk)) break;
      position = std::min(pull.plan.end, layout.chunk_offset(chunk) + layout.chunk_size(chunk));
    }
    if (position <= pull.position) continue;
    if (!pull.first_chunk) pull.first_chunk = sim_.now();
    pull.position = position;
    pull.moved = sim_.now();
    // A whole blob is finished when it is proven: its tail is held back until then.
    if (position == pull.plan.end && pull.plan.end < pull.blob.size) {
      pull.finished = sim_.now();
      end_reader(pull, 0ns);
      continue;
    }
    later(0ns, [this, swarm, reader = pull.reader, position](TimePoint now) {
      core_->exchange().move_reader(now, swarm, reader, position);
    });
  }
}

void Node::proven(SwarmId swarm) {
  check_proven(*this, partial(swarm), swarms_.at(swarm).digest);
  for (Pull& pull : pulls_) {
    if (pull.swarm != swarm || pull.is_over()) continue;
    if (!pull.first_chunk) pull.first_chunk = sim_.now();
    pull.finished = sim_.now();
    end_reader(pull, 1ms);
  }
}

void Node::failed(SwarmId swarm, transfer::SwarmError error) {
  for (Pull& pull : pulls_) {
    if (pull.swarm != swarm || pull.is_over()) continue;
    pull.error = error;
    end_reader(pull, 1ms);
  }
}

}  // namespace waggle::sim
