namespace SorsaOrt.Trainer;

/// <summary>Everything a training run is asked to do. Paths as the user gave them.</summary>
public sealed record RunSettings
{
    /// <summary>Folder of the artifacts.</summary>
    public required string Artifacts { get; init; }

    /// <summary>Rows to train on.</summary>
    public required string Data { get; init; }

    /// <summary>Tokenizer file or folder; null for rows of token ids.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>Name or file of the prompt template.</summary>
    public string Template { get; init; } = "alpaca";

    /// <summary>Rows to evaluate on; null: no evaluation.</summary>
    public string? EvalData { get; init; }

    /// <summary>Whether bad rows are skipped and counted rather than refused.</summary>
    public bool SkipBadRows { get; init; }

    /// <summary>cpu, cuda[:N], directml[:N] or auto; a run keeps what auto gave it.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>ort, the only one so far.</summary>
    public string Engine { get; init; } = "ort";

    /// <summary>Threads; 0: all processors. A run keeps the number, since another one rounds differently.</summary>
    public int Threads { get; init; }

    /// <summary>Whether packed copies of the frozen weights are kept, for speed; null: as the engine chooses. A run keeps the choice, since the other one rounds differently.</summary>
    public bool? PackWeights { get; init; }

    /// <summary>The numbers of the run.</summary>
    public TrainingOptions Training { get; init; } = new();

    /// <summary>Checks what can be checked without opening files.</summary>
    /// <exception cref="ConfigException">With every complaint about <see cref="Training"/>, or the engine.</exception>
    public RunSettings Validated()
    {
        Training.Validated();
        if (Threads < 0)
            throw new ConfigException($"--threads is {Threads}, but must be at least 1 (0: all processors).");
        if (Training.EarlyStop > 0 && EvalData is null)
            throw new ConfigException("--early-stop needs rows to evaluate on: give --eval-data.");
        return Engine switch
        {
            "ort" => this,
            "ort-training" => throw new ConfigException("--engine ort-training needs the package Microsoft.ML.OnnxRuntime.Training 1.19.2, which this build does not hold; use --engine ort."),
            _ => throw new ConfigException($"--engine '{Engine}' is not known; use ort."),
        };
    }
}
