// SPDX-License-Identifier: GPL-2.0
// Energy counters of known power in the kernel's own powercap class: package-0 at 40 W with a core at 24 W
// inside, and memory at 8 W. Counters wrap at 1 kJ, the package's every 25 s, so that a test sees it. For the guest of guest.rs alone.
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/powercap.h>

#define RANGE_UJ 1000000000ULL

struct meter {
	struct powercap_zone zone;
	const char *name;
	u64 watts;
	int parent;
};

static struct meter meters[] = {
	{ .name = "package-0", .watts = 40, .parent = -1 },
	{ .name = "core", .watts = 24, .parent = 0 },
	{ .name = "dram", .watts = 8, .parent = 0 },
};
static struct powercap_control_type *type;

static int get_energy(struct powercap_zone *zone, u64 *energy)
{
	u64 microjoules = ktime_to_us(ktime_get()) * container_of(zone, struct meter, zone)->watts;
	u64 wraps = div64_u64(microjoules, RANGE_UJ);

	*energy = microjoules - wraps * RANGE_UJ;
	return 0;
}

static int get_range(struct powercap_zone *zone, u64 *range)
{
	*range = RANGE_UJ;
	return 0;
}

static int release(struct powercap_zone *zone)
{
	return 0;
}

static const struct powercap_zone_ops zone_ops = {
	.get_energy_uj = get_energy,
	.get_max_energy_range_uj = get_range,
	.release = release,
};

static int set_limit(struct powercap_zone *zone, int id, u64 value)
{
	return -EPERM;
}

static int get_limit(struct powercap_zone *zone, int id, u64 *value)
{
	*value = 500000000;
	return 0;
}

static const char *get_name(struct powercap_zone *zone, int id)
{
	return "long_term";
}

static const struct powercap_zone_constraint_ops constraint_ops = {
	.set_power_limit_uw = set_limit,
	.get_power_limit_uw = get_limit,
	.set_time_window_us = set_limit,
	.get_time_window_us = get_limit,
	.get_name = get_name,
};

static int __init start(void)
{
	int index;

	type = powercap_register_control_type(NULL, "intel-rapl", NULL);
	if (IS_ERR(type))
		return PTR_ERR(type);
	for (index = 0; index < ARRAY_SIZE(meters); index++) {
		struct meter *meter = &meters[index];
		struct powercap_zone *parent = meter->parent < 0 ? NULL : &meters[meter->parent].zone;
		struct powercap_zone *zone = powercap_register_zone(&meter->zone, type, meter->name, parent,
								    &zone_ops, 1, &constraint_ops);
		if (IS_ERR(zone))
			return PTR_ERR(zone);
	}
	return 0;
}

module_init(start);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Known energy counters for the tests of jouleprint");
