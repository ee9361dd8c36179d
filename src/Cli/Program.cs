using System.Globalization;
using SorsaOrt.Cli;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
CultureInfo.DefaultThreadCurrentUICulture = CultureInfo.CurrentUICulture = CultureInfo.InvariantCulture;

return SorsaCommand.Run(args, new Terminal(Console.Out, Console.Error, isTerminal: !Console.IsErrorRedirected));
