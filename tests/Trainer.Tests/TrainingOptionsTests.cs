using Xunit;

namespace SorsaOrt.Trainer.Tests;

public sealed class TrainingOptionsTests
{
    [Fact]
    public void Defaults_AreThoseOfTheCommandLine()
    {
        var options = new TrainingOptions().Validated();

        Assert.Equal((2, 64, 512), (options.BatchSize, options.Accumulation, options.MaxLength));
        Assert.Equal((3e-5, 4e-4, 0.0, 1.0), (options.LearningRate, options.Gamma, options.WeightDecay, options.MaxGradNorm));
        Assert.Equal((0.9, 0.999, 1e-8, 0.03), (options.Beta1, options.Beta2, options.Epsilon, options.Warmup));
        Assert.Equal((ScheduleShape.Cosine, LossAverage.Tokens, true), (options.Schedule, options.LossAverage, options.Shuffle));
    }

    [Fact]
    public void EverythingWrong_IsReportedAtOnce()
    {
        var wrong = new TrainingOptions
        {
            Epochs = 0,
            MaxSteps = 0,
            BatchSize = 0,
            Accumulation = -1,
            MaxLength = 1,
            LearningRate = double.NaN,
            Gamma = -1,
            WeightDecay = -0.5,
            Beta1 = 1,
            Beta2 = 1.5,
            Epsilon = 1e-60,
            MaxGradNorm = -1,
            Warmup = 2.5,
            SaveEvery = -1,
            Keep = -1,
            EvalEvery = -1,
            EarlyStop = -1,
        };

        Assert.Equal(
            "--epochs is 0, but must be above 0 and at most 1000000; --max-steps is 0, but must be at least 1; --batch-size is 0, but must be at least 1; "
            + "--accumulation is -1, but must be at least 1; --max-length is 1, but must be at least 2; --lr is NaN, but must be above 0; "
            + "--gamma is -1, but must be at least 0; --weight-decay is -0.5, but must be at least 0; the first of --betas is 1, but must be from 0 to below 1; "
            + "the second of --betas is 1.5, but must be from 0 to below 1; --eps is 1E-60, but must be above 0 as a 32-bit float; "
            + "--max-grad-norm is -1, but must be at least 0 (0: no clipping); --warmup is 2.5, but must be a share below 1 or whole steps; "
            + "--save-every is -1, but must be at least 0; --keep is -1, but must be at least 0; --eval-every is -1, but must be at least 0; "
            + "--early-stop is -1, but must be at least 0.",
            Assert.Throws<ConfigException>(wrong.Validated).Message);
    }
}
