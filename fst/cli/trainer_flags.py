"""The flags of Lightning's Trainer that fst-train settles itself, and what to give instead."""

TRAINER = "--trainer."
ONE_EPOCH = "a run is one long epoch"
# Name to the way out.
SETTLED = {
    "max_steps": "use --steps",
    "min_steps": "use --steps, which a run always reaches",
    "max_epochs": f"{ONE_EPOCH}, use --steps",
    "min_epochs": f"{ONE_EPOCH}, use --steps",
    "max_time": "use --steps, or send SIGTERM when the time is over ('timeout 2h fst-train ...'): "
    "the run stores the step just taken",
    "default_root_dir": "use -o",
    "enable_checkpointing": "a run always stores its model, use --save-every",
    "val_check_interval": "use --val-every",
    "check_val_every_n_epoch": f"{ONE_EPOCH}, use --val-every",
    "num_sanity_val_steps": "leave it out, a run begins without a validation",
    "reload_dataloaders_every_n_epochs": f"leave it out, {ONE_EPOCH}",
    "use_distributed_sampler": "leave it out, processes share the photos in any case",
    "enable_model_summary": "use --trainer.callbacks ModelSummary",
}


def settled(argument: str) -> str | None:
    """What to tell of a flag that fst-train settles itself; None of another."""
    flag = argument.partition("=")[0]
    name = flag.removeprefix(TRAINER).partition(".")[0]
    if flag.startswith(TRAINER) and name in SETTLED:
        return f"{TRAINER}{name}: {SETTLED[name]}"
    return None
