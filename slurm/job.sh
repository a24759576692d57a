# Sourced by the batch script of a job before srun.

# srun does not inherit the processors of the job since SLURM 22.05, and more threads than processors are far slower.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=$SRUN_CPUS_PER_TASK

# Signals are for the run. This shell waits for it and then judges its exit code (requeue.sh); an empty handler, unlike
# an ignored signal, is not inherited by the run.
trap : TERM INT USR2

# A file of slurm/sites/ may load modules.
if [ -n "${WEGEFT_SITE:-}" ]; then
    # shellcheck disable=SC1090
    . "$WEGEFT_SITE"
fi
