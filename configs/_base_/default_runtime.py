# What every pretraining run has: hooks, logs, environment. No number here belongs to a method.
default_scope = "mmssl"
default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    data_time=dict(type="DataTimeHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    step_seed=dict(type="StepSeedHook"),
    progress=dict(type="ProgressHook"),
    momentum_update=dict(type="MomentumUpdateHook"),
    finite_loss=dict(type="FiniteLossHook"),
    bad_files=dict(type="BadFilesHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
    preemption=dict(type="PreemptionHook"),
    collapse=dict(type="CollapseHook"),
    report=dict(type="ReportHook"),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl", timeout=1800),
)
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
log_processor = dict(type="LogProcessor", window_size=50)
log_level = "INFO"
randomness = dict(seed=0)
load_from = None
resume = False
