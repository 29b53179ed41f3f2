// Lookups at nodes that were told something.
#include "sim/announcement_watch.hpp"

#include <algorithm>

namespace waggle::sim {

AnnouncementWatch::AnnouncementWatch(GossipWorld& world, Duration resolution)
    : world_(world), resolution_(resolution), is_dirty_(world.size()) {
  world_.add_listener(this);
}

AnnouncementWatch::~AnnouncementWatch() { world_.remove_listener(this); }

void AnnouncementWatch::announce(NodeIndex origin, const gossip::Content& content) {
  Followed followed;
  followed.digest = content.digest;
  followed.origin = origin;
  followed.begun = world_.now();
  followed.knows.resize(world_.size());
  for (NodeIndex i = 0; i < world_.size(); ++i) {
    if (i != origin && world_.is_up(i)) ++followed.expected;
  }
  open_.push_back(followed_.size());
  followed_.push_back(std::move(followed));
  world_.announce(origin, content);
}

void AnnouncementWatch::input_handled(NodeIndex node) {
  if (open_.empty()) return;
  if (resolution_ == Duration{0}) return look(node);
  if (!is_dirty_[node]) {
    is_dirty_[node] = true;
    dirty_.push_back(node);
  }
  if (world_.now() < look_at_) return;
  look_at_ = world_.now() + resolution_;
  for (const NodeIndex dirty : dirty_) {
    is_dirty_[dirty] = false;
    if (world_.is_up(dirty)) look(dirty);
  }
  dirty_.clear();
}

void AnnouncementWatch::look(NodeIndex node) {
  bool is_any_over = false;
  for (const std::size_t position : open_) {
    Followed& followed = followed_[position];
    if (followed.knows[node] || followed.origin == node) continue;
    holders_.clear();
    world_.at(node).holders(followed.digest, holders_);
    if (holders_.empty()) continue;
    followed.knows[node] = true;
    ++followed.reached;
    delays_.push_back(to_seconds(world_.now() - followed.begun));
    if (followed.reached * 100 >= followed.expected * 99 && !followed.most_at)
      followed.most_at = world_.now();
    if (followed.reached < followed.expected) continue;
    followed.all_at = world_.now();
    is_any_over = true;
  }
  if (!is_any_over) return;
  std::erase_if(open_,
                [&](std::size_t position) { return followed_[position].all_at.has_value(); });
}

}  // namespace waggle::sim
