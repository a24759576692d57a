# A partition whose jobs are taken down when a more important one needs the node. Runs save their state when they are
# told to stop and SLURM queues them again; many short stays add up to a run.
export SBATCH_PARTITION=preempt
export SBATCH_GRES=gpu:1
export SBATCH_REQUEUE=1
export SBATCH_TIMELIMIT=4:00:00
